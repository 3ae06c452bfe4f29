/** Log pages: NVMe Base 2.x, section "Get Log Page command". */
import { array, ascii, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import type { BitTable } from "./capabilities.js";
import { at, bits, nested, record, u24, u128 } from "./record.js";

/** Entry of the Error Information log (LID 01h). */
export const errorLogEntry = record("Error Information Log Entry", 64, {
  errorCount: at(0, u64),
  sqid: at(8, u16),
  cid: at(10, u16),
  /** As in DW3 bits 31:16 of a completion: phase in bit 0, status above it. */
  status: at(12, u16),
  parameterErrorLocation: at(14, u16),
  lba: at(16, u64),
  nsid: at(24, u32),
  vendorSpecific: at(28, u8),
  trtype: at(29, u8),
  csi: at(30, u8),
  opcode: at(31, u8),
  commandSpecific: at(32, u64),
  transportSpecific: at(40, u16),
  logPageVersion: at(63, u8),
});
export type ErrorLogEntry = ReturnType<typeof errorLogEntry.decode>;

/** SMART / Health Information (LID 02h). Temperatures in kelvin, data units of 512,000 bytes, times in minutes. */
export const smartLog = record("SMART / Health Information Log", 512, {
  criticalWarning: at(0, u8),
  compositeTemperature: at(1, u16),
  availableSpare: at(3, u8),
  availableSpareThreshold: at(4, u8),
  percentageUsed: at(5, u8),
  enduranceGroupCriticalWarning: at(6, u8),
  dataUnitsRead: at(32, u128),
  dataUnitsWritten: at(48, u128),
  hostReadCommands: at(64, u128),
  hostWriteCommands: at(80, u128),
  controllerBusyTime: at(96, u128),
  powerCycles: at(112, u128),
  powerOnHours: at(128, u128),
  unsafeShutdowns: at(144, u128),
  mediaErrors: at(160, u128),
  errorLogEntries: at(176, u128),
  warningTemperatureTime: at(192, u32),
  criticalTemperatureTime: at(196, u32),
  temperatureSensors: at(200, array(u16, 8)),
  thermalTransitions1: at(216, u32),
  thermalTransitions2: at(220, u32),
  /** Seconds. */
  thermalTime1: at(224, u32),
  thermalTime2: at(228, u32),
  lifetimeEnergyConsumed: at(232, u64),
  intervalPowerMeasurement: at(240, u32),
});
export type SmartLog = ReturnType<typeof smartLog.decode>;

/** SMART critical warning bits. */
export const CriticalWarning = {
  spare: 1,
  temperature: 2,
  reliability: 4,
  readOnly: 8,
  backup: 16,
  persistentMemoryReadOnly: 32,
} as const;

/** Firmware Slot Information (LID 03h). */
export const firmwareSlotLog = record("Firmware Slot Information Log", 512, {
  afi: at(0, u8),
  frs: at(8, array(ascii(8), 7)),
});

/** Commands Supported and Effects (LID 05h): one word per opcode. */
export const commandEffectsLog = record("Commands Supported and Effects Log", 4096, {
  acs: at(0, array(u32, 256)),
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

/** The same as a table, with what besides may run at the time (CSE) and what the command concerns (CSP). */
export const CommandEffect = {
  supported: 0,
  contentChange: 1,
  namespaceCapabilityChange: 2,
  namespaceInventoryChange: 3,
  controllerCapabilityChange: 4,
  /** 0 not told, 1 no others on the namespace, 2 no others at all. */
  submissionRelaxed: [14, 2],
  submission: [16, 3],
  uuidSelection: 19,
  scope: [20, 12],
} as const satisfies BitTable;

/** Word of the Supported Log Pages log (LID 00h). */
export const LogPageSupport = {
  supported: 0,
  indexOffset: 1,
  specific: [16, 16],
} as const satisfies BitTable;

/** Word of the Feature Identifiers Supported and Effects log (LID 12h). */
export const FeatureEffect = {
  supported: 0,
  contentChange: 1,
  namespaceCapabilityChange: 2,
  namespaceInventoryChange: 3,
  controllerCapabilityChange: 4,
  uuidSelection: 19,
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
  segment: at(1, u8),
  /** Which of the following are there: bit 0 nsid, 1 failing LBA, 2 status type, 3 status code. */
  valid: at(2, u8),
  powerOnHours: at(4, u64),
  nsid: at(12, u32),
  failingLba: at(16, u64),
  statusCodeType: at(24, u8),
  statusCode: at(25, u8),
  vendorSpecific: at(26, u16),
});
export type SelfTestEntry = ReturnType<typeof selfTestResult.decode>;

/** Device Self-test (LID 06h). */
export const selfTestLog = record("Device Self-test Log", 564, {
  /** What runs now (a {@link SelfTestCode}); 0 is nothing. */
  currentOperation: at(0, bits(u8, 0, 4)),
  completionPercent: at(1, bits(u8, 0, 7)),
  results: at(4, array(nested(selfTestResult), 20)),
});

/** Device Self-test, CDW10 bits 3:0 (STC), and what the log says. */
export const SelfTestCode = {
  short: 1,
  extended: 2,
  hostInitiatedRefresh: 3,
  vendor: 0xe,
  abort: 0xf,
} as const;

/** How a self-test ended. */
export const SelfTestResult = {
  success: 0,
  aborted: 1,
  abortedByReset: 2,
  abortedByNamespaceRemoval: 3,
  abortedByFormat: 4,
  fatalError: 5,
  unknownSegmentFailed: 6,
  segmentsFailed: 7,
  abortedUnknown: 8,
  abortedBySanitize: 9,
  unused: 0xf,
} as const;

/** Telemetry Host-Initiated (LID 07h) and Controller-Initiated (LID 08h): the header. Areas end at these blocks. */
export const telemetryHeader = record("Telemetry Log", 512, {
  lid: at(0, u8),
  ieee: at(5, u24),
  lastBlock1: at(8, u16),
  lastBlock2: at(10, u16),
  lastBlock3: at(12, u16),
  lastBlock4: at(16, u32),
  hostScope: at(380, u8),
  /** Generation of the host's log; of the controller's log, its scope. */
  hostGeneration: at(381, u8),
  controllerAvailable: at(382, u8),
  controllerGeneration: at(383, u8),
  reason: at(384, bytes(128)),
});
export type TelemetryHeader = ReturnType<typeof telemetryHeader.decode>;
export const TELEMETRY_BLOCK_BYTES = 512;

/** Endurance Group Information (LID 09h); the LSI names the group. Data units of a billion bytes. */
export const enduranceGroupLog = record("Endurance Group Information Log", 512, {
  criticalWarning: at(0, u8),
  features: at(1, u8),
  availableSpare: at(3, u8),
  availableSpareThreshold: at(4, u8),
  percentageUsed: at(5, u8),
  domainId: at(6, u16),
  enduranceEstimate: at(32, u128),
  dataUnitsRead: at(48, u128),
  dataUnitsWritten: at(64, u128),
  mediaUnitsWritten: at(80, u128),
  hostReadCommands: at(96, u128),
  hostWriteCommands: at(112, u128),
  mediaErrors: at(128, u128),
  errorLogEntries: at(144, u128),
  totalCapacity: at(160, u128),
  unallocatedCapacity: at(176, u128),
});
export type EnduranceGroupLog = ReturnType<typeof enduranceGroupLog.decode>;

/** Predictable Latency Per NVM Set (LID 0Ah); the LSI names the set. */
export const predictableLatencyLog = record("Predictable Latency Per NVM Set Log", 512, {
  /** 1 deterministic window, 2 the other. */
  status: at(0, u8),
  eventType: at(2, u16),
  windowReadsTypical: at(32, u64),
  windowWritesTypical: at(40, u64),
  /** Milliseconds, as the times below. */
  windowTimeMaximum: at(48, u64),
  otherTimeMinimumHigh: at(56, u64),
  otherTimeMinimumLow: at(64, u64),
  windowReadsEstimate: at(128, u64),
  windowWritesEstimate: at(136, u64),
  windowTimeEstimate: at(144, u64),
});
export type PredictableLatencyLog = ReturnType<typeof predictableLatencyLog.decode>;

/** LIDs 0Bh and 0Fh: how many ids (NVM sets, endurance groups) follow. */
export const eventAggregateHeader = record("Event Aggregate Log", 8, { entries: at(0, u64) });

/** Asymmetric Namespace Access (LID 0Ch): the header, and a group's part before its namespaces. */
export const anaHeader = record("Asymmetric Namespace Access Log", 16, {
  changeCount: at(0, u64),
  groups: at(8, u16),
});
export const anaGroup = record("ANA Group Descriptor", 32, {
  groupId: at(0, u32),
  namespaces: at(4, u32),
  changeCount: at(8, u64),
  state: at(16, bits(u8, 0, 4)),
});

export const AnaState = {
  optimized: 1,
  nonOptimized: 2,
  inaccessible: 3,
  persistentLoss: 4,
  change: 0xf,
} as const;

/** Persistent Event (LID 0Dh): the header. */
export const persistentEventHeader = record("Persistent Event Log", 512, {
  lid: at(0, u8),
  events: at(4, u32),
  totalBytes: at(8, u64),
  revision: at(16, u8),
  headerBytes: at(18, u16),
  /** Milliseconds since 1970 in bits 47:0. */
  timestamp: at(20, u64),
  powerOnHours: at(28, u128),
  powerCycles: at(44, u64),
  vid: at(52, u16),
  ssvid: at(54, u16),
  sn: at(56, ascii(20)),
  mn: at(76, ascii(40)),
  subnqn: at(116, ascii(256)),
  generation: at(372, u16),
  reportingContext: at(374, u32),
  /** Bit n: events of type n are there. */
  supportedEvents: at(480, bytes(32)),
});

/** Before each event's data. */
export const persistentEventEntry = record("Persistent Event", 24, {
  type: at(0, u8),
  revision: at(1, u8),
  /** Bytes of this header beyond the first three. */
  headerLength: at(2, u8),
  attributes: at(3, u8),
  cntlid: at(4, u16),
  timestamp: at(6, u64),
  portId: at(14, u16),
  vendorBytes: at(20, u16),
  /** Bytes after the header, the vendor's among them. */
  dataBytes: at(22, u16),
});

export const PersistentEventType = {
  smart: 0x01,
  firmwareCommit: 0x02,
  timestampChange: 0x03,
  powerOnOrReset: 0x04,
  hardwareError: 0x05,
  changeNamespace: 0x06,
  formatStart: 0x07,
  formatCompletion: 0x08,
  sanitizeStart: 0x09,
  sanitizeCompletion: 0x0a,
  setFeature: 0x0b,
  telemetryCreated: 0x0c,
  thermalExcursion: 0x0d,
  sanitizeMediaVerification: 0x0e,
  vendor: 0xde,
  tcg: 0xdf,
} as const;

export const mediaUnit = record("Media Unit Status Descriptor", 16, {
  mediaUnitId: at(0, u16),
  domainId: at(2, u16),
  enduranceGroupId: at(4, u16),
  nvmSetId: at(6, u16),
  capacityAdjustment: at(8, u16),
  availableSpare: at(10, u8),
  percentageUsed: at(11, u8),
  channels: at(12, u8),
  channelOffset: at(13, u8),
});
export type MediaUnit = ReturnType<typeof mediaUnit.decode>;

/** Media Unit Status (LID 10h): the header. */
export const mediaUnitHeader = record("Media Unit Status Log", 16, {
  units: at(0, u16),
  channels: at(2, u16),
  selectedConfiguration: at(4, u16),
});

/** Command and Feature Lockdown (LID 14h). */
export const lockdownLog = record("Command and Feature Lockdown Log", 512, {
  attributes: at(0, u8),
  length: at(3, u8),
  identifiers: at(4, bytes(508)),
});

/** Rotational Media Information (LID 16h). */
export const rotationalMediaLog = record("Rotational Media Information Log", 512, {
  enduranceGroupId: at(0, u16),
  actuators: at(2, u16),
  /** Rotations a minute. */
  nominalSpeed: at(4, u16),
  spinups: at(8, u32),
  failedSpinups: at(12, u32),
  loads: at(16, u32),
  failedLoads: at(20, u32),
});
export type RotationalMediaLog = ReturnType<typeof rotationalMediaLog.decode>;

/** Reservation Notification (LID 80h). */
export const reservationLog = record("Reservation Notification Log", 64, {
  /** Counts pages; 0 is an empty one. */
  count: at(0, u64),
  type: at(8, u8),
  /** Pages that still wait. */
  available: at(9, u8),
  nsid: at(12, u32),
});
export type ReservationLog = ReturnType<typeof reservationLog.decode>;
export const ReservationNotification = {
  empty: 0,
  registrationPreempted: 1,
  reservationReleased: 2,
  reservationPreempted: 3,
} as const;

/** Sanitize Status (LID 81h). Times in seconds; FFFFFFFFh where none is told. */
export const sanitizeLog = record("Sanitize Status Log", 512, {
  /** Of 65,536. */
  progress: at(0, u16),
  status: at(2, bits(u16, 0, 3)),
  overwritePasses: at(2, bits(u16, 3, 5)),
  globalDataErased: at(2, bits(u16, 8, 1)),
  verificationCanceled: at(2, bits(u16, 9, 1)),
  cdw10: at(4, u32),
  overwriteTime: at(8, u32),
  blockEraseTime: at(12, u32),
  cryptoEraseTime: at(16, u32),
  overwriteNoDeallocateTime: at(20, u32),
  blockEraseNoDeallocateTime: at(24, u32),
  cryptoEraseNoDeallocateTime: at(28, u32),
  postVerificationDeallocateTime: at(32, u32),
  state: at(36, bits(u8, 0, 4)),
  failedState: at(36, bits(u8, 4, 4)),
});
export type SanitizeLog = ReturnType<typeof sanitizeLog.decode>;
export const SanitizeStatus = {
  never: 0,
  completed: 1,
  inProgress: 2,
  failed: 3,
  completedWithoutDeallocation: 4,
} as const;

/** Changed Zone List (LID BFh). */
export const changedZonesLog = record("Changed Zone List Log", 4096, {
  /** FFFFh: more than the list holds. */
  count: at(0, u16),
  zslba: at(8, array(u64, 511)),
});
