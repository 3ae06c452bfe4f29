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
  namespaceAttachment: 0x15,
  keepAlive: 0x18,
  doorbellBufferConfig: 0x7c,
  formatNvm: 0x80,
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
  copy: 0x19,
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
  namespaceForCommandSet: 0x05,
  controllerForCommandSet: 0x06,
  activeNamespacesForCommandSet: 0x07,
  namespaceIndependent: 0x08,
  allocatedNamespaces: 0x10,
  allocatedNamespace: 0x11,
  controllersOfNamespace: 0x12,
  controllers: 0x13,
  allocatedNamespacesForCommandSet: 0x1a,
  allocatedNamespaceForCommandSet: 0x1b,
  commandSets: 0x1c,
} as const;

/** Base, figure "Command Set Identifiers" (CSI). */
export const CommandSet = { nvm: 0x00, keyValue: 0x01, zoned: 0x02 } as const;

export const FeatureId = {
  arbitration: 0x01,
  powerManagement: 0x02,
  temperatureThreshold: 0x04,
  errorRecovery: 0x05,
  volatileWriteCache: 0x06,
  numberOfQueues: 0x07,
  interruptCoalescing: 0x08,
  interruptVectorConfiguration: 0x09,
  writeAtomicityNormal: 0x0a,
  asyncEventConfiguration: 0x0b,
  timestamp: 0x0e,
  keepAliveTimer: 0x0f,
  hostBehaviorSupport: 0x16,
  commandSetProfile: 0x19,
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
  changedZones: 0xbf,
} as const;

/** DW0 of an Asynchronous Event Request's completion, bits 2:0. */
export const AsyncEventType = { error: 0, smart: 1, notice: 2, immediate: 3, ioCommandSet: 6 } as const;

/** The same, bits 15:8, by type. */
export const AsyncEventInfo = {
  error: { invalidDoorbellRegister: 0, invalidDoorbellValue: 1 },
  smart: { reliability: 0, temperature: 1, spare: 2 },
  notice: { namespaceAttributeChanged: 0 },
} as const;

/** Zone Management Send, CDW13 bits 7:0 (ZSA). */
export const ZoneAction = { close: 1, finish: 2, open: 3, reset: 4, offline: 5 } as const;

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
