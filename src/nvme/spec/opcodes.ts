/** Opcodes, CNS values, feature, log page and event identifiers: NVMe Base 2.x, NVM Command Set and ZNS 1.x. */

/** Base, figure "Opcodes for Admin Commands"; Format NVM of the NVM Command Set. */
export const AdminOpcode = {
  deleteIoSubmissionQueue: 0x00,
  createIoSubmissionQueue: 0x01,
  getLogPage: 0x02,
  deleteIoCompletionQueue: 0x04,
  createIoCompletionQueue: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asyncEventRequest: 0x0c,
  namespaceManagement: 0x0d,
  firmwareCommit: 0x10,
  firmwareImageDownload: 0x11,
  deviceSelfTest: 0x14,
  namespaceAttachment: 0x15,
  keepAlive: 0x18,
  directiveSend: 0x19,
  directiveReceive: 0x1a,
  virtualizationManagement: 0x1c,
  nvmeMiSend: 0x1d,
  nvmeMiReceive: 0x1e,
  capacityManagement: 0x20,
  lockdown: 0x24,
  doorbellBufferConfig: 0x7c,
  formatNvm: 0x80,
  securitySend: 0x81,
  securityReceive: 0x82,
  sanitize: 0x84,
  getLbaStatus: 0x86,
  sanitizeNamespace: 0x8c,
} as const;

/** NVM Command Set and Zoned Namespace Command Set, figures "Opcodes for ... Commands". */
export const IoOpcode = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
  writeUncorrectable: 0x04,
  compare: 0x05,
  writeZeroes: 0x08,
  datasetManagement: 0x09,
  verify: 0x0c,
  reservationRegister: 0x0d,
  reservationReport: 0x0e,
  reservationAcquire: 0x11,
  ioManagementReceive: 0x12,
  reservationRelease: 0x15,
  copy: 0x19,
  ioManagementSend: 0x1d,
  zoneManagementSend: 0x79,
  zoneManagementReceive: 0x7a,
  zoneAppend: 0x7d,
} as const;

/** Identify: Controller or Namespace Structure. */
export const IdentifyCns = {
  namespace: 0x00,
  controller: 0x01,
  activeNamespaces: 0x02,
  namespaceDescriptors: 0x03,
  nvmSets: 0x04,
  namespaceForCommandSet: 0x05,
  controllerForCommandSet: 0x06,
  activeNamespacesForCommandSet: 0x07,
  namespaceIndependent: 0x08,
  namespaceOfFormat: 0x09,
  namespaceOfFormatForCommandSet: 0x0a,
  allocatedNamespaces: 0x10,
  allocatedNamespace: 0x11,
  controllersOfNamespace: 0x12,
  controllers: 0x13,
  primaryController: 0x14,
  secondaryControllers: 0x15,
  namespaceGranularity: 0x16,
  uuids: 0x17,
  domains: 0x18,
  enduranceGroups: 0x19,
  allocatedNamespacesForCommandSet: 0x1a,
  allocatedNamespaceForCommandSet: 0x1b,
  commandSets: 0x1c,
  underlyingNamespaces: 0x1d,
  ports: 0x1e,
  allocatedNamespaceIndependent: 0x1f,
  controllerStateFormats: 0x20,
} as const;

/** Base, figure "Command Set Identifiers" (CSI). */
export const CommandSet = { nvm: 0x00, keyValue: 0x01, zoned: 0x02 } as const;

export const FeatureId = {
  arbitration: 0x01,
  powerManagement: 0x02,
  lbaRangeType: 0x03,
  temperatureThreshold: 0x04,
  errorRecovery: 0x05,
  volatileWriteCache: 0x06,
  numberOfQueues: 0x07,
  interruptCoalescing: 0x08,
  interruptVectorConfiguration: 0x09,
  writeAtomicityNormal: 0x0a,
  asyncEventConfiguration: 0x0b,
  autonomousPowerStateTransition: 0x0c,
  hostMemoryBuffer: 0x0d,
  timestamp: 0x0e,
  keepAliveTimer: 0x0f,
  hostControlledThermalManagement: 0x10,
  nonOperationalPowerState: 0x11,
  readRecoveryLevel: 0x12,
  predictableLatencyModeConfig: 0x13,
  predictableLatencyModeWindow: 0x14,
  lbaStatusInformation: 0x15,
  hostBehaviorSupport: 0x16,
  sanitizeConfig: 0x17,
  enduranceGroupEventConfig: 0x18,
  commandSetProfile: 0x19,
  spinupControl: 0x1a,
  powerLossSignaling: 0x1b,
  flexibleDataPlacement: 0x1d,
  flexibleDataPlacementEvents: 0x1e,
  namespaceAdminLabel: 0x1f,
  softwareProgressMarker: 0x80,
  hostIdentifier: 0x81,
  reservationNotificationMask: 0x82,
  reservationPersistence: 0x83,
  namespaceWriteProtection: 0x84,
  bootPartitionWriteProtection: 0x85,
} as const;

/** Get Features, CDW10 bits 10:8 (SEL). */
export const FeatureSelect = { current: 0, default: 1, saved: 2, supported: 3 } as const;

/** Get Log Page, CDW10 bits 7:0 (LID). */
export const LogPageId = {
  supportedLogPages: 0x00,
  errorInformation: 0x01,
  smart: 0x02,
  firmwareSlot: 0x03,
  changedNamespaces: 0x04,
  commandsSupported: 0x05,
  deviceSelfTest: 0x06,
  telemetryHost: 0x07,
  telemetryController: 0x08,
  enduranceGroup: 0x09,
  predictableLatency: 0x0a,
  predictableLatencyEvents: 0x0b,
  asymmetricNamespaceAccess: 0x0c,
  persistentEvents: 0x0d,
  lbaStatus: 0x0e,
  enduranceGroupEvents: 0x0f,
  mediaUnitStatus: 0x10,
  capacityConfigurations: 0x11,
  featuresSupported: 0x12,
  managementCommandsSupported: 0x13,
  lockdown: 0x14,
  bootPartition: 0x15,
  rotationalMedia: 0x16,
  dispersedNamespaces: 0x17,
  managementAddresses: 0x18,
  reachabilityGroups: 0x1a,
  reachabilityAssociations: 0x1b,
  changedAllocatedNamespaces: 0x1c,
  fdpConfigurations: 0x20,
  fdpReclaimUnitHandles: 0x21,
  fdpStatistics: 0x22,
  fdpEvents: 0x23,
  reservationNotification: 0x80,
  sanitizeStatus: 0x81,
  changedZones: 0xbf,
} as const;

/** DW0 of an Asynchronous Event Request's completion, bits 2:0. */
export const AsyncEventType = {
  error: 0,
  smart: 1,
  notice: 2,
  immediate: 3,
  oneShot: 4,
  ioCommandSet: 6,
  vendor: 7,
} as const;

/** The same, bits 15:8, by type. */
export const AsyncEventInfo = {
  error: {
    invalidDoorbellRegister: 0,
    invalidDoorbellValue: 1,
    diagnosticFailure: 2,
    persistentInternalError: 3,
    transientInternalError: 4,
    firmwareImageLoadError: 5,
  },
  smart: { reliability: 0, temperature: 1, spare: 2 },
  notice: {
    namespaceAttributeChanged: 0,
    firmwareActivationStarting: 1,
    telemetryLogChanged: 2,
    asymmetricNamespaceAccessChange: 3,
    predictableLatencyEvents: 4,
    lbaStatusAlert: 5,
    enduranceGroupEvents: 6,
    reachabilityGroupChange: 7,
    reachabilityAssociationChange: 8,
    allocatedNamespaceAttributeChanged: 9,
    zoneDescriptorChanged: 0xef,
    discoveryLogChange: 0xf0,
  },
  immediate: { subsystemNormalShutdown: 0, temperatureThresholdRecovery: 1 },
  oneShot: {},
  ioCommandSet: {
    reservationLogAvailable: 0,
    sanitizeCompleted: 1,
    sanitizeCompletedUnexpectedDeallocation: 2,
    sanitizeMediaVerification: 3,
  },
  vendor: {},
} as const;

/** Zone Management Send, CDW13 bits 7:0 (ZSA). */
export const ZoneAction = { close: 1, finish: 2, open: 3, reset: 4, offline: 5, setExtension: 0x10 } as const;

/** Zone Management Receive, CDW13 bits 7:0 (ZRA). */
export const ZoneReceiveAction = { report: 0, extendedReport: 1 } as const;

/** CDW12 bit of read and write: force unit access. */
export const IO_FUA = 1 << 30;
/** CDW12 bit of read and write: limited retry. */
export const IO_LIMITED_RETRY = 1 << 31;
/** CDW12 bits of commands with protection information: PRACT, and what PRCHK checks. */
export const IO_PRACT = 1 << 29;
export const IO_PRCHK_GUARD = 1 << 28;
export const IO_PRCHK_APP = 1 << 27;
export const IO_PRCHK_REF = 1 << 26;
/** CDW12 bit of write zeroes: deallocate. */
export const IO_DEAC = 1 << 25;

/** Names no single namespace but all. */
export const BROADCAST_NSID = 0xffff_ffff;
