/** Controller registers: NVM Express Base Specification 2.x, section 3.1.4 (property definitions). */

/** Byte offsets in BAR0. */
export const NvmeRegister = {
  CAP: 0x00,
  VS: 0x08,
  INTMS: 0x0c,
  INTMC: 0x10,
  CC: 0x14,
  CSTS: 0x1c,
  AQA: 0x24,
  ASQ: 0x28,
  ACQ: 0x30,
} as const;

/** Doorbells start here, `4 << CAP.DSTRD` bytes apart. */
export const DOORBELL_BASE = 0x1000;

/** CAP: what the controller can do. */
export interface Capabilities {
  /** Largest queue size supported, in entries (MQES + 1). */
  readonly maxQueueEntries: number;
  /** Queues must be physically contiguous. */
  readonly contiguousQueues: boolean;
  /** Arbitration mechanisms beyond round robin, bit field. */
  readonly ams: number;
  /** Worst-case time for CSTS.RDY to follow CC.EN, in milliseconds (TO × 500). */
  readonly timeoutMs: number;
  /** Bytes between doorbells (4 << DSTRD). */
  readonly doorbellStrideBytes: number;
  /** NVM subsystem reset supported. */
  readonly nssrs: boolean;
  /** Command sets supported, bit field: 0 NVM, 6 I/O command sets by CSI, 7 none. */
  readonly css: number;
  /** Smallest and largest memory page, in bytes (2 ^ (12 + MPSMIN)). */
  readonly minPageBytes: number;
  readonly maxPageBytes: number;
  /** Controller memory buffer supported. */
  readonly cmbs: boolean;
  /** Persistent memory region supported. */
  readonly pmrs: boolean;
}

export function decodeCapabilities(cap: bigint): Capabilities {
  const bits = (from: number, count: number): number =>
    Number((cap >> BigInt(from)) & ((1n << BigInt(count)) - 1n));
  return {
    maxQueueEntries: bits(0, 16) + 1,
    contiguousQueues: bits(16, 1) === 1,
    ams: bits(17, 2),
    timeoutMs: bits(24, 8) * 500,
    doorbellStrideBytes: 4 << bits(32, 4),
    nssrs: bits(36, 1) === 1,
    css: bits(37, 8),
    minPageBytes: 2 ** (12 + bits(48, 4)),
    maxPageBytes: 2 ** (12 + bits(52, 4)),
    pmrs: bits(56, 1) === 1,
    cmbs: bits(57, 1) === 1,
  };
}

/** CC: controller configuration. */
export const ControllerConfig = {
  EN: 1 << 0,
  CSS_SHIFT: 4,
  MPS_SHIFT: 7,
  AMS_SHIFT: 11,
  SHN_NORMAL: 1 << 14,
  SHN_ABRUPT: 2 << 14,
  SHN_MASK: 3 << 14,
  IOSQES_SHIFT: 16,
  IOCQES_SHIFT: 20,
} as const;

/** Values of CC.CSS. */
export const CommandSetSelection = { nvm: 0, allSupported: 6, adminOnly: 7 } as const;

/** CSTS: controller status. */
export const ControllerStatus = {
  RDY: 1 << 0,
  CFS: 1 << 1,
  SHST_SHIFT: 2,
  SHST_MASK: 3 << 2,
  SHST_COMPLETE: 2 << 2,
} as const;
