/** Command opcodes and feature identifiers used by the driver: NVMe Base 2.x figures "Opcodes for ... Commands". */

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
} as const;

export const IoOpcode = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
} as const;

/** Identify: Controller or Namespace Structure. */
export const IdentifyCns = {
  namespace: 0x00,
  controller: 0x01,
  activeNamespaces: 0x02,
} as const;

export const FeatureId = {
  numberOfQueues: 0x07,
} as const;

/** CDW12 bit of read and write: force unit access. */
export const IO_FUA = 1 << 30;
/** CDW12 bit of read and write: limited retry. */
export const IO_LIMITED_RETRY = 1 << 31;
