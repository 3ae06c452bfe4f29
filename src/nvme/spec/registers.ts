/** Controller registers: NVM Express Base Specification 2.x, section 3.1.4 (property definitions). */

/** Byte offsets in BAR0. */
export const NvmeRegister = {
  CAP: 0x00,
  VS: 0x08,
  INTMS: 0x0c,
  INTMC: 0x10,
  CC: 0x14,
  CSTS: 0x1c,
  NSSR: 0x20,
  AQA: 0x24,
  ASQ: 0x28,
  ACQ: 0x30,
  CMBLOC: 0x38,
  CMBSZ: 0x3c,
  CMBMSC: 0x50,
  CMBSTS: 0x58,
  PMRCAP: 0xe00,
  PMRCTL: 0xe04,
  PMRSTS: 0xe08,
  PMREBS: 0xe0c,
  PMRSWTP: 0xe10,
  PMRMSCL: 0xe14,
  PMRMSCU: 0xe18,
} as const;

/** Written to NSSR to reset the NVM subsystem: "NVMe". */
export const NSSR_RESET = 0x4e56_4d65;

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

/** CAP with these fields: the reverse of {@link decodeCapabilities}. */
export function encodeCapabilities(capabilities: Capabilities): bigint {
  const { maxQueueEntries, contiguousQueues, ams, timeoutMs, doorbellStrideBytes, nssrs } = capabilities;
  const { css, minPageBytes, maxPageBytes, pmrs, cmbs } = capabilities;
  const fields: readonly (readonly [from: number, value: number])[] = [
    [0, maxQueueEntries - 1],
    [16, contiguousQueues ? 1 : 0],
    [17, ams],
    [24, Math.ceil(timeoutMs / 500)],
    [32, Math.log2(doorbellStrideBytes) - 2],
    [36, nssrs ? 1 : 0],
    [37, css],
    [48, Math.log2(minPageBytes) - 12],
    [52, Math.log2(maxPageBytes) - 12],
    [56, pmrs ? 1 : 0],
    [57, cmbs ? 1 : 0],
  ];
  return fields.reduce((cap, [from, value]) => cap | (BigInt(value) << BigInt(from)), 0n);
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

/** Bits of CAP.CSS. */
export const CommandSet = { nvm: 1 << 0, allSupported: 1 << 6, adminOnly: 1 << 7 } as const;

/** Values of CC.AMS. */
export const ArbitrationMechanism = { roundRobin: 0, weighted: 1 } as const;

/** Values of CC.CSS. */
export const CommandSetSelection = { nvm: 0, allSupported: 6, adminOnly: 7 } as const;

/** CSTS: controller status. */
export const ControllerStatus = {
  RDY: 1 << 0,
  CFS: 1 << 1,
  SHST_SHIFT: 2,
  SHST_MASK: 3 << 2,
  SHST_COMPLETE: 2 << 2,
  /** NVM subsystem reset occurred; cleared by writing 1. */
  NSSRO: 1 << 4,
} as const;

/** CMBSZ: bits below SZU (11:8) say what the buffer may hold; SZ is in units of `4 KiB << 4 * SZU`. */
export const CmbSize = {
  /** Submission queues, completion queues, PRP and SGL lists, data to read, data to write. */
  SQS: 1 << 0,
  CQS: 1 << 1,
  LISTS: 1 << 2,
  RDS: 1 << 3,
  WDS: 1 << 4,
  SZU_SHIFT: 8,
  SZ_SHIFT: 12,
} as const;

/** CMBMSC: capabilities registers enabled, memory space enabled; the base address above them. */
export const CmbControl = { CRE: 1 << 0, CMSE: 1 << 1, CBA_MASK: ~0xfffn } as const;

/** CMBLOC: OFST counts in units of CMBSZ.SZU. */
export const CmbLocation = {
  BIR_MASK: 7,
  /** A queue may lie partly in it; the pages of one there may lie scattered. */
  CQMMS: 1 << 3,
  CQPDS: 1 << 4,
  /** PRP lists or SGL segments of one command may lie partly in it; may lie in it although their command doesn't. */
  CDPMLS: 1 << 5,
  CDPCILS: 1 << 6,
  /** Data and metadata of one command may lie partly in it. */
  CDMMMS: 1 << 7,
  /** Queues there may start at any dword. */
  CQDA: 1 << 8,
  OFST_SHIFT: 12,
} as const;

/** CMBSTS: the base address is not valid. */
export const CmbStatus = { CBAI: 1 << 0 } as const;

/** PMRCAP. */
export const PmrCapability = {
  RDS: 1 << 3,
  WDS: 1 << 4,
  BIR_SHIFT: 5,
  PMRTU_SHIFT: 8,
  PMRWBM_SHIFT: 10,
  PMRTO_SHIFT: 16,
  CMSS: 1 << 24,
} as const;

/** PMRCTL. */
export const PmrControl = { EN: 1 << 0 } as const;

/** PMRSTS. */
export const PmrStatus = { ERR_MASK: 0xff, NRDY: 1 << 8, CBAI: 1 << 12 } as const;

/** PMRMSCL: controller memory space enable. */
export const PmrSpaceControl = { CMSE: 1 << 1 } as const;
