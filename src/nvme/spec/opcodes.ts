/** Opcodes, CNS values, feature, log page and event identifiers: NVMe Base 2.x, NVM Command Set and ZNS 1.x. */

/** Base, figure "Opcodes for Admin Commands"; Format NVM of the NVM Command Set. */
export const AdminOpcode = {
  /** Delete I/O Submission Queue. */
  deleteIoSubmissionQueue: 0x00,
  /** Create I/O Submission Queue. */
  createIoSubmissionQueue: 0x01,
  /** Get Log Page. */
  getLogPage: 0x02,
  /** Delete I/O Completion Queue. */
  deleteIoCompletionQueue: 0x04,
  /** Create I/O Completion Queue. */
  createIoCompletionQueue: 0x05,
  /** Identify. */
  identify: 0x06,
  /** Abort. */
  abort: 0x08,
  /** Set Features. */
  setFeatures: 0x09,
  /** Get Features. */
  getFeatures: 0x0a,
  /** Asynchronous Event Request. */
  asyncEventRequest: 0x0c,
  /** Namespace Management. */
  namespaceManagement: 0x0d,
  /** Firmware Commit. */
  firmwareCommit: 0x10,
  /** Firmware Image Download. */
  firmwareImageDownload: 0x11,
  /** Device Self-test. */
  deviceSelfTest: 0x14,
  /** Namespace Attachment. */
  namespaceAttachment: 0x15,
  /** Keep Alive. */
  keepAlive: 0x18,
  /** Directive Send. */
  directiveSend: 0x19,
  /** Directive Receive. */
  directiveReceive: 0x1a,
  /** Virtualization Management. */
  virtualizationManagement: 0x1c,
  /** NVMe-MI Send. */
  nvmeMiSend: 0x1d,
  /** NVMe-MI Receive. */
  nvmeMiReceive: 0x1e,
  /** Capacity Management. */
  capacityManagement: 0x20,
  /** Discovery Information Management. */
  discoveryInformationManagement: 0x21,
  /** Fabric Zoning Receive. */
  fabricZoningReceive: 0x22,
  /** Lockdown. */
  lockdown: 0x24,
  /** Fabric Zoning Lookup. */
  fabricZoningLookup: 0x25,
  /** Clear Exported NVM Resource Configuration. */
  clearExportedResources: 0x28,
  /** Fabric Zoning Send. */
  fabricZoningSend: 0x29,
  /** Create Exported NVM Subsystem. */
  createExportedSubsystem: 0x2a,
  /** Manage Exported NVM Subsystem. */
  manageExportedSubsystem: 0x2d,
  /** Manage Exported Namespace. */
  manageExportedNamespace: 0x31,
  /** Manage Exported Port. */
  manageExportedPort: 0x35,
  /** Cross-Controller Reset. */
  crossControllerReset: 0x38,
  /** Send Discovery Log Page. */
  sendDiscoveryLogPage: 0x39,
  /** Track Send (live migration). */
  trackSend: 0x3d,
  /** Track Receive (live migration). */
  trackReceive: 0x3e,
  /** Migration Send (live migration). */
  migrationSend: 0x41,
  /** Migration Receive (live migration). */
  migrationReceive: 0x42,
  /** Controller Data Queue. */
  controllerDataQueue: 0x45,
  /** Doorbell Buffer Config. */
  doorbellBufferConfig: 0x7c,
  /** Format NVM. */
  formatNvm: 0x80,
  /** Security Send. */
  securitySend: 0x81,
  /** Security Receive. */
  securityReceive: 0x82,
  /** Sanitize. */
  sanitize: 0x84,
  /** Load Program (computational programs). */
  loadProgram: 0x85,
  /** Get LBA Status (NVM Command Set). */
  getLbaStatus: 0x86,
  /** Program Activation Management (computational programs). */
  programActivation: 0x88,
  /** Memory Range Set Management (computational programs). */
  memoryRangeSet: 0x89,
  /** Sanitize Namespace. */
  sanitizeNamespace: 0x8c,
} as const;

/** NVM Command Set and Zoned Namespace Command Set, figures "Opcodes for ... Commands". */
export const IoOpcode = {
  /** Flush. */
  flush: 0x00,
  /** Write. */
  write: 0x01,
  /** Read. */
  read: 0x02,
  /** Write Uncorrectable. */
  writeUncorrectable: 0x04,
  /** Compare. */
  compare: 0x05,
  /** Write Zeroes. */
  writeZeroes: 0x08,
  /** Dataset Management. */
  datasetManagement: 0x09,
  /** Verify. */
  verify: 0x0c,
  /** Reservation Register. */
  reservationRegister: 0x0d,
  /** Reservation Report. */
  reservationReport: 0x0e,
  /** Reservation Acquire. */
  reservationAcquire: 0x11,
  /** I/O Management Receive. */
  ioManagementReceive: 0x12,
  /** Reservation Release. */
  reservationRelease: 0x15,
  /** Cancel. */
  cancel: 0x18,
  /** Copy. */
  copy: 0x19,
  /** I/O Management Send. */
  ioManagementSend: 0x1d,
  /** Zone Management Send (zoned namespaces). */
  zoneManagementSend: 0x79,
  /** Zone Management Receive (zoned namespaces). */
  zoneManagementReceive: 0x7a,
  /** Zone Append (zoned namespaces). */
  zoneAppend: 0x7d,
} as const;

/** Cancel, CDW11 bits 1:0 (ACODE). */
export const CancelAction = {
  /** One command, by its identifier. */
  single: 0,
  /** All commands of the queue to a namespace, or to all. */
  multiple: 1,
} as const;

/** Identify: Controller or Namespace Structure. */
export const IdentifyCns = {
  /** Identify Namespace, NVM Command Set. */
  namespace: 0x00,
  /** Identify Controller. */
  controller: 0x01,
  /** Active namespace list. */
  activeNamespaces: 0x02,
  /** Namespace Identification Descriptor list. */
  namespaceDescriptors: 0x03,
  /** NVM Set list. */
  nvmSets: 0x04,
  /** Identify Namespace of a command set (CSI). */
  namespaceForCommandSet: 0x05,
  /** Identify Controller of a command set (CSI). */
  controllerForCommandSet: 0x06,
  /** Active namespace list of a command set (CSI). */
  activeNamespacesForCommandSet: 0x07,
  /** Identify Namespace independent of the command set. */
  namespaceIndependent: 0x08,
  /** Identify Namespace of an LBA format index. */
  namespaceOfFormat: 0x09,
  /** Identify Namespace of a command set (CSI), of an LBA format index. */
  namespaceOfFormatForCommandSet: 0x0a,
  /** Allocated namespace list. */
  allocatedNamespaces: 0x10,
  /** Identify Namespace of an allocated namespace. */
  allocatedNamespace: 0x11,
  /** Controllers that a namespace is attached to. */
  controllersOfNamespace: 0x12,
  /** Controllers of the subsystem. */
  controllers: 0x13,
  /** Primary Controller Capabilities. */
  primaryController: 0x14,
  /** Secondary Controller list. */
  secondaryControllers: 0x15,
  /** Namespace Granularity list. */
  namespaceGranularity: 0x16,
  /** UUID list. */
  uuids: 0x17,
  /** Domain list. */
  domains: 0x18,
  /** Endurance Group list. */
  enduranceGroups: 0x19,
  /** Allocated namespace list of a command set (CSI). */
  allocatedNamespacesForCommandSet: 0x1a,
  /** Identify Namespace of a command set (CSI), of an allocated namespace. */
  allocatedNamespaceForCommandSet: 0x1b,
  /** I/O Command Set combinations. */
  commandSets: 0x1c,
  /** Underlying namespace list of an exported subsystem. */
  underlyingNamespaces: 0x1d,
  /** Ports list. */
  ports: 0x1e,
  /** Identify Namespace independent of the command set, of an allocated namespace. */
  allocatedNamespaceIndependent: 0x1f,
  /** Supported controller state formats (live migration). */
  controllerStateFormats: 0x20,
} as const;

/** Base, figure "Command Set Identifiers" (CSI). */
export const CommandSet = {
  /** NVM Command Set. */
  nvm: 0x00,
  /** Key Value Command Set. */
  keyValue: 0x01,
  /** Zoned Namespace Command Set. */
  zoned: 0x02,
} as const;

/** Feature identifiers: Set Features and Get Features, CDW10 bits 7:0 (FID). */
export const FeatureId = {
  /** Arbitration. */
  arbitration: 0x01,
  /** Power Management. */
  powerManagement: 0x02,
  /** LBA Range Type. */
  lbaRangeType: 0x03,
  /** Temperature Threshold. */
  temperatureThreshold: 0x04,
  /** Error Recovery. */
  errorRecovery: 0x05,
  /** Volatile Write Cache. */
  volatileWriteCache: 0x06,
  /** Number of Queues. */
  numberOfQueues: 0x07,
  /** Interrupt Coalescing. */
  interruptCoalescing: 0x08,
  /** Interrupt Vector Configuration. */
  interruptVectorConfiguration: 0x09,
  /** Write Atomicity Normal. */
  writeAtomicityNormal: 0x0a,
  /** Asynchronous Event Configuration. */
  asyncEventConfiguration: 0x0b,
  /** Autonomous Power State Transition. */
  autonomousPowerStateTransition: 0x0c,
  /** Host Memory Buffer. */
  hostMemoryBuffer: 0x0d,
  /** Timestamp. */
  timestamp: 0x0e,
  /** Keep Alive Timer. */
  keepAliveTimer: 0x0f,
  /** Host Controlled Thermal Management. */
  hostControlledThermalManagement: 0x10,
  /** Non-Operational Power State Config. */
  nonOperationalPowerState: 0x11,
  /** Read Recovery Level Config. */
  readRecoveryLevel: 0x12,
  /** Predictable Latency Mode Config. */
  predictableLatencyModeConfig: 0x13,
  /** Predictable Latency Mode Window. */
  predictableLatencyModeWindow: 0x14,
  /** LBA Status Information Attributes. */
  lbaStatusInformation: 0x15,
  /** Host Behavior Support. */
  hostBehaviorSupport: 0x16,
  /** Sanitize Config. */
  sanitizeConfig: 0x17,
  /** Endurance Group Event Configuration. */
  enduranceGroupEventConfig: 0x18,
  /** I/O Command Set Profile. */
  commandSetProfile: 0x19,
  /** Spinup Control. */
  spinupControl: 0x1a,
  /** Power Loss Signaling Config. */
  powerLossSignaling: 0x1b,
  /** Performance Characteristics. */
  performanceCharacteristics: 0x1c,
  /** Flexible Data Placement. */
  flexibleDataPlacement: 0x1d,
  /** Flexible Data Placement Events. */
  flexibleDataPlacementEvents: 0x1e,
  /** Namespace Admin Label. */
  namespaceAdminLabel: 0x1f,
  /** Key Value Configuration. */
  keyValueConfiguration: 0x20,
  /** Controller Data Queue. */
  controllerDataQueue: 0x21,
  /** Configurable Device Personality. */
  devicePersonality: 0x22,
  /** Power Limit. */
  powerLimit: 0x23,
  /** Power Threshold. */
  powerThreshold: 0x24,
  /** Power Measurement. */
  powerMeasurement: 0x25,
  /** Voltage Threshold. */
  voltageThreshold: 0x26,
  /** Voltage Measurement. */
  voltageMeasurement: 0x27,
  /** Rate Limiting. */
  rateLimiting: 0x28,
  /** Embedded Management Controller Address. */
  embeddedManagementAddress: 0x78,
  /** Host Management Agent Address. */
  hostManagementAddress: 0x79,
  /** Enhanced Controller Metadata. */
  enhancedControllerMetadata: 0x7d,
  /** Controller Metadata. */
  controllerMetadata: 0x7e,
  /** Namespace Metadata. */
  namespaceMetadata: 0x7f,
  /** Software Progress Marker. */
  softwareProgressMarker: 0x80,
  /** Host Identifier. */
  hostIdentifier: 0x81,
  /** Reservation Notification Mask. */
  reservationNotificationMask: 0x82,
  /** Reservation Persistence. */
  reservationPersistence: 0x83,
  /** Namespace Write Protection Config. */
  namespaceWriteProtection: 0x84,
  /** Boot Partition Write Protection Config. */
  bootPartitionWriteProtection: 0x85,
} as const;

/** Get Features, CDW10 bits 10:8 (SEL). */
export const FeatureSelect = {
  /** The value in use. */
  current: 0,
  /** The value that the manufacturer chose. */
  default: 1,
  /** The value that the controller saved over resets and power cycles. */
  saved: 2,
  /** Capabilities of the feature; see {@link FeatureCapabilities}. */
  supported: 3,
} as const;

/** Get Log Page, CDW10 bits 7:0 (LID). */
export const LogPageId = {
  /** Supported Log Pages. */
  supportedLogPages: 0x00,
  /** Error Information. */
  errorInformation: 0x01,
  /** SMART / Health Information. */
  smart: 0x02,
  /** Firmware Slot Information. */
  firmwareSlot: 0x03,
  /** Changed Attached Namespace List. */
  changedNamespaces: 0x04,
  /** Commands Supported and Effects. */
  commandsSupported: 0x05,
  /** Device Self-test. */
  deviceSelfTest: 0x06,
  /** Telemetry Host-Initiated. */
  telemetryHost: 0x07,
  /** Telemetry Controller-Initiated. */
  telemetryController: 0x08,
  /** Endurance Group Information. */
  enduranceGroup: 0x09,
  /** Predictable Latency Per NVM Set. */
  predictableLatency: 0x0a,
  /** Predictable Latency Event Aggregate. */
  predictableLatencyEvents: 0x0b,
  /** Asymmetric Namespace Access. */
  asymmetricNamespaceAccess: 0x0c,
  /** Persistent Event Log. */
  persistentEvents: 0x0d,
  /** LBA Status Information. */
  lbaStatus: 0x0e,
  /** Endurance Group Event Aggregate. */
  enduranceGroupEvents: 0x0f,
  /** Media Unit Status. */
  mediaUnitStatus: 0x10,
  /** Supported Capacity Configuration List. */
  capacityConfigurations: 0x11,
  /** Feature Identifiers Supported and Effects. */
  featuresSupported: 0x12,
  /** NVMe-MI Commands Supported and Effects. */
  managementCommandsSupported: 0x13,
  /** Command and Feature Lockdown. */
  lockdown: 0x14,
  /** Boot Partition. */
  bootPartition: 0x15,
  /** Rotational Media Information. */
  rotationalMedia: 0x16,
  /** Dispersed Namespace Participating NVM Subsystems. */
  dispersedNamespaces: 0x17,
  /** Management Address List. */
  managementAddresses: 0x18,
  /** Physical Interface Receiver Eye Opening Measurement. */
  receiverEyeOpening: 0x19,
  /** Reachability Groups. */
  reachabilityGroups: 0x1a,
  /** Reachability Associations. */
  reachabilityAssociations: 0x1b,
  /** Changed Allocated Namespace List. */
  changedAllocatedNamespaces: 0x1c,
  /** Device Personality. */
  devicePersonality: 0x1d,
  /** Cross-Controller Reset. */
  crossControllerReset: 0x1e,
  /** Lost Host Communication. */
  lostHostCommunication: 0x1f,
  /** FDP Configurations. */
  fdpConfigurations: 0x20,
  /** Reclaim Unit Handle Usage. */
  fdpReclaimUnitHandles: 0x21,
  /** FDP Statistics. */
  fdpStatistics: 0x22,
  /** FDP Events. */
  fdpEvents: 0x23,
  /** Manufacturing Default Configuration. */
  defaultConfiguration: 0x24,
  /** Power Measurement. */
  powerMeasurement: 0x25,
  /** Voltage Measurement. */
  voltageMeasurement: 0x27,
  /** Rate Limiting. */
  rateLimiting: 0x28,
  /** Sanitize Namespace Status List. */
  sanitizeNamespaceStatus: 0x7f,
  /** Reservation Notification. */
  reservationNotification: 0x80,
  /** Sanitize Status. */
  sanitizeStatus: 0x81,
  /** Changed Zone List. */
  changedZones: 0xbf,
} as const;

/** DW0 of an Asynchronous Event Request's completion, bits 2:0. */
export const AsyncEventType = {
  /** Error status. */
  error: 0,
  /** SMART / Health status. */
  smart: 1,
  /** Notice. */
  notice: 2,
  /** Immediate event. */
  immediate: 3,
  /** One-shot event. */
  oneShot: 4,
  /** Specific to an I/O command set. */
  ioCommandSet: 6,
  /** Vendor specific. */
  vendor: 7,
} as const;

/** DW0 of an Asynchronous Event Request's completion, bits 15:8: the event, by event type. */
export const AsyncEventInfo = {
  /** Error status. */
  error: {
    /** A doorbell of a queue that doesn't exist was written. */
    invalidDoorbellRegister: 0,
    /** A doorbell was written with an invalid value. */
    invalidDoorbellValue: 1,
    /** A diagnostic failure was detected. */
    diagnosticFailure: 2,
    /** A persistent internal error occurred. */
    persistentInternalError: 3,
    /** A transient internal error occurred. */
    transientInternalError: 4,
    /** A firmware image could not be loaded; the previous one runs. */
    firmwareImageLoadError: 5,
  },
  /** SMART / Health status. */
  smart: {
    /** The reliability of the NVM subsystem is compromised. */
    reliability: 0,
    /** A temperature crossed its threshold. */
    temperature: 1,
    /** The spare capacity fell below its threshold. */
    spare: 2,
  },
  /** Notices. */
  notice: {
    /** Attributes of attached namespaces changed; log page 04h lists the namespaces. */
    namespaceAttributeChanged: 0,
    /** A firmware activation starts; commands are not processed meanwhile. */
    firmwareActivationStarting: 1,
    /** Controller-initiated telemetry data is available. */
    telemetryLogChanged: 2,
    /** ANA states changed; log page 0Ch holds them. */
    asymmetricNamespaceAccessChange: 3,
    /** Log page 0Bh has new entries. */
    predictableLatencyEvents: 4,
    /** LBA status information alert; log page 0Eh has entries. */
    lbaStatusAlert: 5,
    /** Log page 0Fh has new entries. */
    enduranceGroupEvents: 6,
    /** Reachability groups changed; log page 1Ah holds them. */
    reachabilityGroupChange: 7,
    /** Reachability associations changed; log page 1Bh holds them. */
    reachabilityAssociationChange: 8,
    /** Attributes of allocated namespaces changed; log page 1Ch lists the namespaces. */
    allocatedNamespaceAttributeChanged: 9,
    /** Zone descriptors changed; log page BFh lists the zones. */
    zoneDescriptorChanged: 0xef,
    /** The Discovery log page changed. */
    discoveryLogChange: 0xf0,
  },
  /** Immediate events. */
  immediate: {
    /** A normal shutdown of the NVM subsystem began. */
    subsystemNormalShutdown: 0,
    /** A temperature recovered from its threshold, with hysteresis. */
    temperatureThresholdRecovery: 1,
  },
  /** One-shot events. */
  oneShot: {},
  /** Events of an I/O command set. */
  ioCommandSet: {
    /** Log page 80h has a reservation notification. */
    reservationLogAvailable: 0,
    /** A sanitize operation completed. */
    sanitizeCompleted: 1,
    /** A sanitize operation completed, with a deallocation that wasn't requested. */
    sanitizeCompletedUnexpectedDeallocation: 2,
    /** A sanitize operation entered the media verification state. */
    sanitizeMediaVerification: 3,
  },
  /** Vendor-specific events. */
  vendor: {},
} as const;

/** Zone Management Send, CDW13 bits 7:0 (ZSA). */
export const ZoneAction = {
  /** Close Zone. */
  close: 1,
  /** Finish Zone: makes it full. */
  finish: 2,
  /** Open Zone. */
  open: 3,
  /** Reset Zone: makes it empty. */
  reset: 4,
  /** Offline Zone, from read only. */
  offline: 5,
  /** Set Zone Descriptor Extension. */
  setExtension: 0x10,
} as const;

/** Zone Management Receive, CDW13 bits 7:0 (ZRA). */
export const ZoneReceiveAction = {
  /** Report Zones. */
  report: 0,
  /** Extended Report Zones, with the descriptor extensions. */
  extendedReport: 1,
} as const;

/** CDW12 bit of Read and Write: force unit access. */
export const IO_FUA = 1 << 30;
/** CDW12 bit of Read and Write: limited retry. */
export const IO_LIMITED_RETRY = 1 << 31;
/** CDW12 bit of commands with protection information: the controller inserts or strips it (PRACT). */
export const IO_PRACT = 1 << 29;
/** CDW12 bit of commands with protection information: the guard is checked. */
export const IO_PRCHK_GUARD = 1 << 28;
/** CDW12 bit of commands with protection information: the application tag is checked. */
export const IO_PRCHK_APP = 1 << 27;
/** CDW12 bit of commands with protection information: the reference tag is checked. */
export const IO_PRCHK_REF = 1 << 26;
/** CDW12 bit of Write Zeroes: deallocate. */
export const IO_DEAC = 1 << 25;

/** Namespace id of all namespaces. */
export const BROADCAST_NSID = 0xffff_ffff;
