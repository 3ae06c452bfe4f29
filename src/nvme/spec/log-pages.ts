/** Log pages: NVMe Base 2.x, section "Get Log Page command". */
import { array, ascii, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import type { BitTable } from "./capabilities.js";
import { at, bits, nested, record, u24, u128 } from "./record.js";

/** Entry of the Error Information log (LID 01h). */
export const errorLogEntry = record("Error Information Log Entry", 64, {
  /** Number of the error, counted over the controller's life; 0: an unused entry. */
  errorCount: at(0, u64),
  /** Submission queue of the command; FFFFh: not of a command. */
  sqid: at(8, u16),
  /** Identifier of the command; FFFFh: not of a command. */
  cid: at(10, u16),
  /** As in DW3 bits 31:16 of a completion: phase in bit 0, status above it. */
  status: at(12, u16),
  /** Field in error: byte in bits 7:0, bit in bits 10:8; FFFFh: not reported. */
  parameterErrorLocation: at(14, u16),
  /** First block with the error. */
  lba: at(16, u64),
  /** Namespace of the error. */
  nsid: at(24, u32),
  /** Log page with more on the error; 0: none. */
  vendorSpecific: at(28, u8),
  /** Transport type of the error; 0: not reported. */
  trtype: at(29, u8),
  /** Command set of the command. */
  csi: at(30, u8),
  /** Opcode of the command. */
  opcode: at(31, u8),
  /** More on the error, depending on the command. */
  commandSpecific: at(32, u64),
  /** More on the error, depending on the transport. */
  transportSpecific: at(40, u16),
  /** Version of the entry's layout. */
  logPageVersion: at(63, u8),
});
/** An entry of the Error Information log (LID 01h), decoded. */
export type ErrorLogEntry = ReturnType<typeof errorLogEntry.decode>;

/** SMART / Health Information (LID 02h). Temperatures in kelvin, data units of 512,000 bytes, times in minutes. */
export const smartLog = record("SMART / Health Information Log", 512, {
  /** Critical warnings; see {@link CriticalWarning}. */
  criticalWarning: at(0, u8),
  /** Composite temperature, in kelvin. */
  compositeTemperature: at(1, u16),
  /** Spare capacity that remains, in percent. */
  availableSpare: at(3, u8),
  /** Spare capacity below which a warning is reported, in percent. */
  availableSpareThreshold: at(4, u8),
  /** Estimate of the life used, in percent; may exceed 100; 255: 255 or more. */
  percentageUsed: at(5, u8),
  /** Critical warnings of all endurance groups together. */
  enduranceGroupCriticalWarning: at(6, u8),
  /** Data read, in units of 512,000 bytes. */
  dataUnitsRead: at(32, u128),
  /** Data written, in units of 512,000 bytes. */
  dataUnitsWritten: at(48, u128),
  /** Number of read commands completed. */
  hostReadCommands: at(64, u128),
  /** Number of write commands completed. */
  hostWriteCommands: at(80, u128),
  /** Time the controller was busy with I/O, in minutes. */
  controllerBusyTime: at(96, u128),
  /** Number of power cycles. */
  powerCycles: at(112, u128),
  /** Hours of power. */
  powerOnHours: at(128, u128),
  /** Number of power losses without a shutdown before. */
  unsafeShutdowns: at(144, u128),
  /** Number of unrecovered data integrity errors. */
  mediaErrors: at(160, u128),
  /** Number of entries that the error log got over the controller's life. */
  errorLogEntries: at(176, u128),
  /** Time above WCTEMP, in minutes. */
  warningTemperatureTime: at(192, u32),
  /** Time above CCTEMP, in minutes. */
  criticalTemperatureTime: at(196, u32),
  /** Temperature sensors 1 to 8, in kelvin; 0: no such sensor. */
  temperatureSensors: at(200, array(u16, 8)),
  /** How often throttling began at thermal management temperature 1. */
  thermalTransitions1: at(216, u32),
  /** How often throttling began at thermal management temperature 2. */
  thermalTransitions2: at(220, u32),
  /** Time throttled for thermal management temperature 1, in seconds. */
  thermalTime1: at(224, u32),
  /** Time throttled for thermal management temperature 2, in seconds. */
  thermalTime2: at(228, u32),
  /** Energy consumed over the controller's life. */
  lifetimeEnergyConsumed: at(232, u64),
  /** Power measured in the last interval. */
  intervalPowerMeasurement: at(240, u32),
});
/** SMART / Health Information (LID 02h), decoded. */
export type SmartLog = ReturnType<typeof smartLog.decode>;

/** SMART critical warning bits. */
export const CriticalWarning = {
  /** The spare capacity is below its threshold. */
  spare: 1,
  /** A temperature is beyond its threshold. */
  temperature: 2,
  /** The reliability is degraded by media or internal errors. */
  reliability: 4,
  /** The medium is read-only. */
  readOnly: 8,
  /** The backup of volatile memory has failed. */
  backup: 16,
  /** The persistent memory region is read-only or unreliable. */
  persistentMemoryReadOnly: 32,
} as const;

/** Firmware Slot Information (LID 03h). */
export const firmwareSlotLog = record("Firmware Slot Information Log", 512, {
  /** Active firmware: bits 2:0 the running slot, bits 6:4 the slot of the next reset. */
  afi: at(0, u8),
  /** Revisions in slots 1 to 7; an empty text for an empty slot. */
  frs: at(8, array(ascii(8), 7)),
});

/** Commands Supported and Effects (LID 05h): one word per opcode. */
export const commandEffectsLog = record("Commands Supported and Effects Log", 4096, {
  /** Words of the admin commands, by opcode; see {@link CommandEffect}. */
  acs: at(0, array(u32, 256)),
  /** Words of the I/O commands, by opcode; see {@link CommandEffect}. */
  iocs: at(1024, array(u32, 256)),
});

/** Bits of a word of the Commands Supported and Effects log. */
export const CommandEffects = {
  /** Command supported. */
  CSUPP: 1 << 0,
  /** Logical block content change. */
  LBCC: 1 << 1,
  /** Namespace capability change. */
  NCC: 1 << 2,
  /** Namespace inventory change. */
  NIC: 1 << 3,
  /** Controller capability change. */
  CCC: 1 << 4,
} as const;

/** All fields of a word of the Commands Supported and Effects log, as a bit table. */
export const CommandEffect = {
  /** The command is supported (CSUPP). */
  supported: 0,
  /** The command may change the content of blocks (LBCC). */
  contentChange: 1,
  /** The command may change a namespace's capabilities (NCC). */
  namespaceCapabilityChange: 2,
  /** The command may change which namespaces exist or are attached (NIC). */
  namespaceInventoryChange: 3,
  /** The command may change the controller's capabilities (CCC). */
  controllerCapabilityChange: 4,
  /** Command submission and execution, relaxed (CSER). */
  submissionRelaxed: [14, 2],
  /**
   * Command submission and execution (CSE): 0 no restriction, 1 no other command on the namespace, 2 no other
   * command on any namespace.
   */
  submission: [16, 3],
  /** The command accepts a UUID index. */
  uuidSelection: 19,
  /** What the command concerns (CSP). */
  scope: [20, 12],
} as const satisfies BitTable;

/** Word of the Supported Log Pages log (LID 00h). */
export const LogPageSupport = {
  /** The log page is supported (LSUPP). */
  supported: 0,
  /** Get Log Page accepts an offset counted in entries (IOS). */
  indexOffset: 1,
  /** Information that depends on the log page. */
  specific: [16, 16],
} as const satisfies BitTable;

/** Word of the Feature Identifiers Supported and Effects log (LID 12h). */
export const FeatureEffect = {
  /** The feature is supported (FSUPP). */
  supported: 0,
  /** Setting it may change the content of blocks (UDCC). */
  contentChange: 1,
  /** Setting it may change a namespace's capabilities (NCC). */
  namespaceCapabilityChange: 2,
  /** Setting it may change which namespaces exist or are attached (NIC). */
  namespaceInventoryChange: 3,
  /** Setting it may change the controller's capabilities (CCC). */
  controllerCapabilityChange: 4,
  /** The feature accepts a UUID index. */
  uuidSelection: 19,
  /** What the feature concerns (FSP). */
  scope: [20, 12],
} as const satisfies BitTable;

/** Supported Log Pages (LID 00h) and Feature Identifiers Supported and Effects (LID 12h): a word per identifier. */
export const identifierTable = record("Identifiers Supported Log", 1024, {
  words: at(0, array(u32, 256)),
});

/** An entry of the Device Self-test log. */
export const selfTestResult = record("Self-test Result", 28, {
  /** See {@link SelfTestResult}; F is an entry not in use. */
  result: at(0, bits(u8, 0, 4)),
  /** See {@link SelfTestCode}. */
  code: at(0, bits(u8, 4, 4)),
  /** Number of the first segment that failed. */
  segment: at(1, u8),
  /** Which fields are valid: bit 0 `nsid`, bit 1 `failingLba`, bit 2 `statusCodeType`, bit 3 `statusCode`. */
  valid: at(2, u8),
  /** Hours of power when the test ended. */
  powerOnHours: at(4, u64),
  /** Namespace of the failure. */
  nsid: at(12, u32),
  /** Block of the failure. */
  failingLba: at(16, u64),
  /** Status code type of the failure. */
  statusCodeType: at(24, u8),
  /** Status code of the failure. */
  statusCode: at(25, u8),
  /** Vendor specific. */
  vendorSpecific: at(26, u16),
});
/** A result in the Device Self-test log (LID 06h), decoded. */
export type SelfTestEntry = ReturnType<typeof selfTestResult.decode>;

/** Device Self-test (LID 06h). */
export const selfTestLog = record("Device Self-test Log", 564, {
  /** Self-test that runs, a {@link SelfTestCode}; 0: none. */
  currentOperation: at(0, bits(u8, 0, 4)),
  completionPercent: at(1, bits(u8, 0, 7)),
  results: at(4, array(nested(selfTestResult), 20)),
});

/** Device Self-test, CDW10 bits 3:0 (STC); also the operation in the log. */
export const SelfTestCode = {
  /** Short self-test. */
  short: 1,
  /** Extended self-test. */
  extended: 2,
  /** Host-initiated refresh. */
  hostInitiatedRefresh: 3,
  /** A vendor-specific test. */
  vendor: 0xe,
  /** Aborts the test that runs. Only as an order, never in the log. */
  abort: 0xf,
} as const;

/** How a self-test ended. */
export const SelfTestResult = {
  /** The test ended without an error. */
  success: 0,
  /** A Device Self-test command aborted the test. */
  aborted: 1,
  /** A controller reset aborted the test. */
  abortedByReset: 2,
  /** The removal of a namespace aborted the test. */
  abortedByNamespaceRemoval: 3,
  /** A Format NVM command aborted the test. */
  abortedByFormat: 4,
  /** A fatal error or unknown test error prevented the test from completing. */
  fatalError: 5,
  /** A segment failed; which one isn't known. */
  unknownSegmentFailed: 6,
  /** One or more segments failed; `segment` is the first. */
  segmentsFailed: 7,
  /** The test was aborted for an unknown reason. */
  abortedUnknown: 8,
  /** A sanitize operation aborted the test. */
  abortedBySanitize: 9,
  /** The entry holds no result. */
  unused: 0xf,
} as const;

/** Telemetry Host-Initiated (LID 07h) and Controller-Initiated (LID 08h): the header. */
export const telemetryHeader = record("Telemetry Log", 512, {
  /** Log page identifier, 07h or 08h. */
  lid: at(0, u8),
  /** IEEE OUI of the vendor that defines the data. */
  ieee: at(5, u24),
  /** Last block of data area 1. */
  lastBlock1: at(8, u16),
  /** Last block of data area 2. */
  lastBlock2: at(10, u16),
  /** Last block of data area 3. */
  lastBlock3: at(12, u16),
  /** Last block of data area 4. */
  lastBlock4: at(16, u32),
  /** Scope of the host-initiated data. */
  hostScope: at(380, u8),
  /** Generation number of host-initiated data; in the controller-initiated log, its scope. */
  hostGeneration: at(381, u8),
  /** 1: controller-initiated data is available. */
  controllerAvailable: at(382, u8),
  /** Generation number of the controller-initiated data. */
  controllerGeneration: at(383, u8),
  /** Vendor-specific identification of why the data was saved. */
  reason: at(384, bytes(128)),
});
/** Header of a telemetry log (LID 07h or 08h), decoded. */
export type TelemetryHeader = ReturnType<typeof telemetryHeader.decode>;
/** Size of a block of a telemetry log. */
export const TELEMETRY_BLOCK_BYTES = 512;

/** Endurance Group Information (LID 09h); the LSI names the group. Data units of a billion bytes. */
export const enduranceGroupLog = record("Endurance Group Information Log", 512, {
  /** Critical warnings of the group: bit 0 spare, bit 2 reliability, bit 3 read-only. */
  criticalWarning: at(0, u8),
  /** Features of the group: bit 0, its media are rotational. */
  features: at(1, u8),
  /** Spare capacity that remains, in percent. */
  availableSpare: at(3, u8),
  /** Spare capacity below which a warning is reported, in percent. */
  availableSpareThreshold: at(4, u8),
  /** Estimate of the life used, in percent; may exceed 100. */
  percentageUsed: at(5, u8),
  /** Domain of the group. */
  domainId: at(6, u16),
  /** Data that can be written over the group's life, in units of a billion bytes. */
  enduranceEstimate: at(32, u128),
  /** Data read, in units of a billion bytes. */
  dataUnitsRead: at(48, u128),
  /** Data written by hosts, in units of a billion bytes. */
  dataUnitsWritten: at(64, u128),
  /** Data written to the medium, in units of a billion bytes. */
  mediaUnitsWritten: at(80, u128),
  /** Number of read commands. */
  hostReadCommands: at(96, u128),
  /** Number of write commands. */
  hostWriteCommands: at(112, u128),
  /** Number of unrecovered data integrity errors. */
  mediaErrors: at(128, u128),
  /** Number of error log entries of the group. */
  errorLogEntries: at(144, u128),
  /** Total capacity, in bytes. */
  totalCapacity: at(160, u128),
  /** Unallocated capacity, in bytes. */
  unallocatedCapacity: at(176, u128),
});
/** Endurance Group Information (LID 09h), decoded. */
export type EnduranceGroupLog = ReturnType<typeof enduranceGroupLog.decode>;

/** Predictable Latency Per NVM Set (LID 0Ah); the LSI names the set. */
export const predictableLatencyLog = record("Predictable Latency Per NVM Set Log", 512, {
  /** Window now in use: 0 none, 1 deterministic, 2 non-deterministic. */
  status: at(0, u8),
  /** Events that happened, a bit each. */
  eventType: at(2, u16),
  /** Typical reads of 4 KiB in a deterministic window. */
  windowReadsTypical: at(32, u64),
  /** Typical writes, in optimal write sizes, in a deterministic window. */
  windowWritesTypical: at(40, u64),
  /** Longest deterministic window, in milliseconds. */
  windowTimeMaximum: at(48, u64),
  /** Minimum time to stay in the non-deterministic window, higher figure, in milliseconds. */
  otherTimeMinimumHigh: at(56, u64),
  /** Minimum time to stay in the non-deterministic window, lower figure, in milliseconds. */
  otherTimeMinimumLow: at(64, u64),
  /** Estimate of the reads that remain in this window. */
  windowReadsEstimate: at(128, u64),
  /** Estimate of the writes that remain in this window. */
  windowWritesEstimate: at(136, u64),
  /** Estimate of the time that remains in this window, in milliseconds. */
  windowTimeEstimate: at(144, u64),
});
/** Predictable Latency Per NVM Set (LID 0Ah), decoded. */
export type PredictableLatencyLog = ReturnType<typeof predictableLatencyLog.decode>;

/** LIDs 0Bh and 0Fh: how many ids (NVM sets, endurance groups) follow. */
export const eventAggregateHeader = record("Event Aggregate Log", 8, { entries: at(0, u64) });

/** Asymmetric Namespace Access (LID 0Ch): the header. */
export const anaHeader = record("Asymmetric Namespace Access Log", 16, {
  /** Counts changes of the log. */
  changeCount: at(0, u64),
  /** Number of group descriptors. */
  groups: at(8, u16),
});
/** An ANA group's descriptor, before the ids of its namespaces. */
export const anaGroup = record("ANA Group Descriptor", 32, {
  /** ANA group identifier. */
  groupId: at(0, u32),
  /** Number of namespace ids after the descriptor. */
  namespaces: at(4, u32),
  /** Change count of the log when the group changed last. */
  changeCount: at(8, u64),
  /** State of the group; see {@link AnaState}. */
  state: at(16, bits(u8, 0, 4)),
});

/** State of an ANA group: how this controller reaches the group's namespaces. */
export const AnaState = {
  /** The namespaces are reached at full performance. */
  optimized: 1,
  /** The namespaces are reached, with less performance than through another controller. */
  nonOptimized: 2,
  /** The namespaces can't be reached at the moment. */
  inaccessible: 3,
  /** The namespaces can't be reached permanently. */
  persistentLoss: 4,
  /** The state is changing. */
  change: 0xf,
} as const;
/** Name of a state in {@link AnaState}. */
export type AnaStateName = keyof typeof AnaState;

/** Persistent Event (LID 0Dh): the header. */
export const persistentEventHeader = record("Persistent Event Log", 512, {
  /** Log page identifier, 0Dh. */
  lid: at(0, u8),
  /** Number of events. */
  events: at(4, u32),
  /** Size of the whole log, in bytes. */
  totalBytes: at(8, u64),
  /** Revision of the log's layout. */
  revision: at(16, u8),
  /** Size of the header beyond the first 20 bytes. */
  headerBytes: at(18, u16),
  /** Milliseconds since 1970 in bits 47:0. */
  timestamp: at(20, u64),
  /** Hours of power. */
  powerOnHours: at(28, u128),
  /** Number of power cycles. */
  powerCycles: at(44, u64),
  /** PCI Vendor ID. */
  vid: at(52, u16),
  /** PCI Subsystem Vendor ID. */
  ssvid: at(54, u16),
  /** Serial number. */
  sn: at(56, ascii(20)),
  /** Model number. */
  mn: at(76, ascii(40)),
  /** NVMe qualified name of the subsystem. */
  subnqn: at(116, ascii(256)),
  /** Generation number of the reporting context. */
  generation: at(372, u16),
  /** Information on the reporting context. */
  reportingContext: at(374, u32),
  /** Bit n: events of type n are there. */
  supportedEvents: at(480, bytes(32)),
});

/** Before each event's data. */
export const persistentEventEntry = record("Persistent Event", 24, {
  /** Type of the event; see {@link PersistentEventType}. */
  type: at(0, u8),
  /** Revision of the event type's layout. */
  revision: at(1, u8),
  /** Bytes of this header beyond the first three. */
  headerLength: at(2, u8),
  /** Attributes of the event's header. */
  attributes: at(3, u8),
  /** Controller that recorded the event. */
  cntlid: at(4, u16),
  /** Milliseconds since 1970 in bits 47:0. */
  timestamp: at(6, u64),
  /** Port of the controller. */
  portId: at(14, u16),
  /** Bytes of vendor-specific information before the event's own data. */
  vendorBytes: at(20, u16),
  /** Bytes after the header, the vendor's among them. */
  dataBytes: at(22, u16),
});

/** Types of events in the Persistent Event log (LID 0Dh). */
export const PersistentEventType = {
  /** SMART / Health log snapshot. */
  smart: 0x01,
  /** Firmware Commit. */
  firmwareCommit: 0x02,
  /** Change of the timestamp. */
  timestampChange: 0x03,
  /** Power-on or reset. */
  powerOnOrReset: 0x04,
  /** NVM subsystem hardware error. */
  hardwareError: 0x05,
  /** Creation or deletion of a namespace. */
  changeNamespace: 0x06,
  /** Start of a Format NVM. */
  formatStart: 0x07,
  /** Completion of a Format NVM. */
  formatCompletion: 0x08,
  /** Start of a sanitize operation. */
  sanitizeStart: 0x09,
  /** Completion of a sanitize operation. */
  sanitizeCompletion: 0x0a,
  /** Set Features. */
  setFeature: 0x0b,
  /** Telemetry log created. */
  telemetryCreated: 0x0c,
  /** Thermal excursion. */
  thermalExcursion: 0x0d,
  /** Sanitize operation in the media verification state. */
  sanitizeMediaVerification: 0x0e,
  /** Vendor specific. */
  vendor: 0xde,
  /** Defined by the Trusted Computing Group. */
  tcg: 0xdf,
} as const;

/** A media unit in the Media Unit Status log (LID 10h), before its channels. */
export const mediaUnit = record("Media Unit Status Descriptor", 16, {
  /** Media unit identifier. */
  mediaUnitId: at(0, u16),
  /** Domain of the media unit. */
  domainId: at(2, u16),
  /** Endurance group of the media unit; 0: none. */
  enduranceGroupId: at(4, u16),
  /** NVM set of the media unit; 0: none. */
  nvmSetId: at(6, u16),
  /** Capacity adjustment factor, in percent. */
  capacityAdjustment: at(8, u16),
  /** Spare capacity that remains, in percent. */
  availableSpare: at(10, u8),
  /** Estimate of the life used, in percent. */
  percentageUsed: at(11, u8),
  /** Number of channels of the media unit. */
  channels: at(12, u8),
  /** Offset of the list of channels. */
  channelOffset: at(13, u8),
});
/** A media unit of the Media Unit Status log (LID 10h), decoded. */
export type MediaUnit = ReturnType<typeof mediaUnit.decode>;

/** Media Unit Status (LID 10h): the header. */
export const mediaUnitHeader = record("Media Unit Status Log", 16, {
  /** Number of media units. */
  units: at(0, u16),
  /** Number of channels. */
  channels: at(2, u16),
  /** Capacity configuration in use; 0: none. */
  selectedConfiguration: at(4, u16),
});

/** Supported Capacity Configuration List (LID 11h): bytes before the first descriptor; byte 0 counts them. */
export const CAPACITY_LOG_HEADER_BYTES = 16;
/** A configuration of the list, before its endurance groups. */
export const capacityConfiguration = record("Capacity Configuration Descriptor", 32, {
  configurationId: at(0, u16),
  domainId: at(2, u16),
  groups: at(4, u16),
});
/** An endurance group of a configuration, before its NVM sets and the number of its channels. */
export const capacityGroup = record("Endurance Group Configuration Descriptor", 82, {
  enduranceGroupId: at(0, u16),
  capacityAdjustment: at(2, u16),
  totalCapacity: at(16, u128),
  spareCapacity: at(32, u128),
  enduranceEstimate: at(48, u128),
  nvmSets: at(80, u16),
});
/** An NVM set of an endurance group, or the number of its channels. */
export const capacityWord = record("Identifier", 2, { value: at(0, u16) });
/** A channel of an endurance group, before its media units. */
export const capacityChannel = record("Channel Configuration Descriptor", 4, {
  channelId: at(0, u16),
  mediaUnits: at(2, u16),
});
/** A media unit of a channel. */
export const capacityMediaUnit = record("Media Unit Configuration Descriptor", 8, {
  mediaUnitId: at(0, u16),
  descriptorLength: at(6, u16),
});

/** Command and Feature Lockdown (LID 14h). */
export const lockdownLog = record("Command and Feature Lockdown Log", 512, {
  /** Contents of the log: scope in bits 3:0, content selected in bits 5:4. */
  attributes: at(0, u8),
  /** Number of identifiers. */
  length: at(3, u8),
  /** Opcodes or feature identifiers, ascending. */
  identifiers: at(4, bytes(508)),
});

/** Rotational Media Information (LID 16h). */
export const rotationalMediaLog = record("Rotational Media Information Log", 512, {
  /** Endurance group of the medium. */
  enduranceGroupId: at(0, u16),
  /** Number of actuators. */
  actuators: at(2, u16),
  /** Nominal speed, in rotations a minute. */
  nominalSpeed: at(4, u16),
  /** Number of successful spinups. */
  spinups: at(8, u32),
  /** Number of failed spinups. */
  failedSpinups: at(12, u32),
  /** Number of successful head loads. */
  loads: at(16, u32),
  /** Number of failed head loads. */
  failedLoads: at(20, u32),
});
/** Rotational Media Information (LID 16h), decoded. */
export type RotationalMediaLog = ReturnType<typeof rotationalMediaLog.decode>;

/** Reservation Notification (LID 80h). */
export const reservationLog = record("Reservation Notification Log", 64, {
  /** Counts notifications, from 1; 0: the page is empty. */
  count: at(0, u64),
  /** Type of the notification; see {@link ReservationNotification}. */
  type: at(8, u8),
  /** Number of further notifications. */
  available: at(9, u8),
  /** Namespace of the notification. */
  nsid: at(12, u32),
});
/** Reservation Notification (LID 80h), decoded. */
export type ReservationLog = ReturnType<typeof reservationLog.decode>;
/** Types of reservation notifications. */
export const ReservationNotification = {
  /** The page is empty. */
  empty: 0,
  /** This host's registration was preempted. */
  registrationPreempted: 1,
  /** The reservation was released. */
  reservationReleased: 2,
  /** This host's reservation was preempted. */
  reservationPreempted: 3,
} as const;

/** Sanitize Status (LID 81h). */
export const sanitizeLog = record("Sanitize Status Log", 512, {
  /** Progress of the operation, in 65,536ths; FFFFh: none runs. */
  progress: at(0, u16),
  /** State of the last operation; see {@link SanitizeStatus}. */
  status: at(2, bits(u16, 0, 3)),
  /** Overwrite passes completed. */
  overwritePasses: at(2, bits(u16, 3, 5)),
  /** 1: nothing was written since the last successful sanitize operation. */
  globalDataErased: at(2, bits(u16, 8, 1)),
  /** 1: the media verification was canceled. */
  verificationCanceled: at(2, bits(u16, 9, 1)),
  /** CDW10 of the Sanitize command that began the operation. */
  cdw10: at(4, u32),
  /** Estimate of an overwrite, in seconds; FFFFFFFFh: not reported. */
  overwriteTime: at(8, u32),
  /** Estimate of a block erase, in seconds; FFFFFFFFh: not reported. */
  blockEraseTime: at(12, u32),
  /** Estimate of a crypto erase, in seconds; FFFFFFFFh: not reported. */
  cryptoEraseTime: at(16, u32),
  /** Estimate of an overwrite without deallocation, in seconds; FFFFFFFFh: not reported. */
  overwriteNoDeallocateTime: at(20, u32),
  /** Estimate of a block erase without deallocation, in seconds; FFFFFFFFh: not reported. */
  blockEraseNoDeallocateTime: at(24, u32),
  /** Estimate of a crypto erase without deallocation, in seconds; FFFFFFFFh: not reported. */
  cryptoEraseNoDeallocateTime: at(28, u32),
  /** Estimate of the deallocation after media verification, in seconds; FFFFFFFFh: not reported. */
  postVerificationDeallocateTime: at(32, u32),
  /** State of the sanitize state machine. */
  state: at(36, bits(u8, 0, 4)),
  /** State in which the operation failed. */
  failedState: at(36, bits(u8, 4, 4)),
});
/** Sanitize Status (LID 81h), decoded. */
export type SanitizeLog = ReturnType<typeof sanitizeLog.decode>;
/** State of the last sanitize operation. */
export const SanitizeStatus = {
  /** The subsystem was never sanitized. */
  never: 0,
  /** The last operation succeeded. */
  completed: 1,
  /** An operation runs. */
  inProgress: 2,
  /** The last operation failed. */
  failed: 3,
  /** The last operation succeeded, with a deallocation that wasn't requested. */
  completedWithoutDeallocation: 4,
} as const;

/** Changed Zone List (LID BFh). */
export const changedZonesLog = record("Changed Zone List Log", 4096, {
  /** Number of identifiers; FFFFh: more zones changed than the list holds. */
  count: at(0, u16),
  /** First blocks of the zones that changed. */
  zslba: at(8, array(u64, 511)),
});

/** Dispersed Namespace Participating NVM Subsystems (LID 17h): the header, before the names of 256 bytes. */
export const dispersedNamespaceHeader = record("Dispersed Namespace Participating NVM Subsystems Log", 256, {
  /** Counts changes of the log. */
  generation: at(0, u64),
  /** Number of NVM subsystems. */
  subsystems: at(8, u64),
});
/** Bytes of an NVMe Qualified Name (NQN) in a log. */
export const NQN_BYTES = 256;

/** Management Address List (LID 18h): an entry. */
export const managementAddress = record("Management Address Descriptor", 512, {
  /** Type of the address; see {@link ManagementAddressType}. */
  type: at(0, u8),
  /** The address: a URI in UTF-8, zeros after it. */
  uri: at(4, bytes(508)),
});
/** Types of management addresses. */
export const ManagementAddressType = {
  /** Agent that manages the NVM subsystem. */
  subsystemAgent: 1,
  /** Manager of the fabric interface. */
  fabricManager: 2,
  /** The list ends before this entry. */
  end: 0xff,
} as const;

/** Reachability Groups and Reachability Associations (LIDs 1Ah and 1Bh): the header. */
export const reachabilityHeader = record("Reachability Log", 16, {
  /** Counts changes of the log. */
  changeCount: at(0, u64),
  /** Number of descriptors. */
  descriptors: at(8, u16),
});
/** A reachability group or association, before the ids of its namespaces or groups. */
export const reachabilityDescriptor = record("Reachability Descriptor", 32, {
  /** Identifier of the group or association. */
  id: at(0, u32),
  /** Number of ids after the descriptor. */
  members: at(4, u32),
  /** Change count of the log when it changed last. */
  changeCount: at(8, u64),
  /** Of an association: its characteristics (RAC). */
  characteristics: at(16, u8),
});

/** Power Measurement (LID 25h): the log, before its histogram. A power is a value of {@link MeasuredPower}. */
export const powerMeasurementLog = record("Power Measurement Log", 64, {
  /** Version of the layout, 0. */
  version: at(0, u8),
  /** Counts starts of a measurement, modulo 256. */
  generation: at(1, u8),
  /** 1: intervals are measured now (PME). */
  enabled: at(2, bits(u16, 0, 1)),
  /** 1: intervals are missing between the others (NCPDF). */
  nonContiguous: at(2, bits(u16, 1, 1)),
  /** 1: the values are estimates (EPF). */
  estimated: at(2, bits(u16, 2, 1)),
  /** 1: `maximumTime` is reported (MIPWRTS). */
  hasMaximumTime: at(2, bits(u16, 3, 1)),
  /** 1: intervals were beyond the histogram (PHDO). */
  overflowed: at(2, bits(u16, 4, 1)),
  /** What is measured: 0 the whole NVM subsystem (PMT). */
  type: at(2, bits(u16, 12, 4)),
  /** Size of the log, in bytes. */
  totalBytes: at(4, u32),
  /** Intervals measured; stays at FFFFFFFFh. */
  count: at(8, u32),
  /** Number of histogram bins in this log. */
  bins: at(12, u16),
  /** Minutes until the measurement stops; 0: not specified. */
  minutesRemaining: at(14, u16),
  /** Time when the measurement stopped, as the Timestamp feature has it. */
  stopTime: at(16, u64),
  /** Size of a histogram bin's descriptor, in bytes. */
  binBytes: at(24, u16),
  /** Width of a bin, in milliwatts. */
  binMilliwatts: at(26, u16),
  /** Most bins that the log can have. */
  mostBins: at(28, u16),
  /** Size of the vendor's part, in bytes. */
  vendorBytes: at(30, u16),
  /** Intervals beyond the last bin; stays at FFFFFFFFh. */
  overflowCount: at(32, u32),
  /** Average of the intervals. */
  average: at(40, u32),
  /** Maximum of the intervals. */
  maximum: at(44, u32),
  /** Time of the maximum, as the Timestamp feature has it. */
  maximumTime: at(48, u64),
  /** Largest error, in percent; 255: not reported. */
  percentError: at(56, u8),
});
/** Power Measurement (LID 25h): a bin of the histogram. */
export const powerHistogramBin = record("Power Histogram Descriptor", 8, {
  /** Intervals in the bin; stays at FFFFFFFFh. */
  count: at(0, u32),
  /** Lowest power of the bin. */
  from: at(4, u32),
});
/** A power in the Power Measurement log. */
export const MeasuredPower = {
  /** Value (PWRV), in units of `scale`. */
  value: [0, 16],
  /** Scale (PWRS): 0 not reported, 1 0.0001 W, 2 0.01 W. */
  scale: [16, 2],
} as const satisfies BitTable;
