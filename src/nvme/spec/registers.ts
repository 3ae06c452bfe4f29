/** Controller registers: NVM Express Base Specification 2.x, section 3.1.4 (property definitions). */

/** Byte offsets in BAR0. */
export const NvmeRegister = {
  /** Controller Capabilities, 64 bits. */
  CAP: 0x00,
  /** Version. */
  VS: 0x08,
  /** Interrupt Mask Set. */
  INTMS: 0x0c,
  /** Interrupt Mask Clear. */
  INTMC: 0x10,
  /** Controller Configuration. */
  CC: 0x14,
  /** Controller Status. */
  CSTS: 0x1c,
  /** NVM Subsystem Reset. */
  NSSR: 0x20,
  /** Admin Queue Attributes. */
  AQA: 0x24,
  /** Admin Submission Queue Base Address, 64 bits. */
  ASQ: 0x28,
  /** Admin Completion Queue Base Address, 64 bits. */
  ACQ: 0x30,
  /** Controller Memory Buffer Location. */
  CMBLOC: 0x38,
  /** Controller Memory Buffer Size. */
  CMBSZ: 0x3c,
  /** Boot Partition Information. */
  BPINFO: 0x40,
  /** Boot Partition Read Select. */
  BPRSEL: 0x44,
  /** Boot Partition Memory Buffer Location, 64 bits. */
  BPMBL: 0x48,
  /** Controller Memory Buffer Memory Space Control, 64 bits. */
  CMBMSC: 0x50,
  /** Controller Memory Buffer Status. */
  CMBSTS: 0x58,
  /** Controller Ready Timeouts. */
  CRTO: 0x68,
  /** Persistent Memory Region Capabilities. */
  PMRCAP: 0xe00,
  /** Persistent Memory Region Control. */
  PMRCTL: 0xe04,
  /** Persistent Memory Region Status. */
  PMRSTS: 0xe08,
  /** Persistent Memory Region Elasticity Buffer Size. */
  PMREBS: 0xe0c,
  /** Persistent Memory Region Sustained Write Throughput. */
  PMRSWTP: 0xe10,
  /** Persistent Memory Region Memory Space Control, lower 32 bits. */
  PMRMSCL: 0xe14,
  /** Persistent Memory Region Memory Space Control, upper 32 bits. */
  PMRMSCU: 0xe18,
} as const;

/** Writing this value ("NVMe") to NSSR resets the NVM subsystem. */
export const NSSR_RESET = 0x4e56_4d65;

/** Offset of the first doorbell; they are `4 << CAP.DSTRD` bytes apart. */
export const DOORBELL_BASE = 0x1000;

/** Unit of the size of boot partitions, in bytes. */
export const BOOT_PARTITION_UNIT_BYTES = 128 << 10;

/** BPINFO. */
export const BootPartitionInfo = {
  /** Bits of the size of each boot partition (BPSZ), in {@link BOOT_PARTITION_UNIT_BYTES}. */
  BPSZ_MASK: 0x7fff,
  /** Lowest of two bits of the read status (BRS): 0 none was asked for, 1 in progress, 2 done, 3 failed. */
  BRS_SHIFT: 24,
  /** Lowest bit of the active boot partition's number (ABPID). */
  ABPID_SHIFT: 31,
} as const;

/** BPRSEL. */
export const BootPartitionSelect = {
  /** Bits of the length (BPRSZ), in 4 KiB. */
  BPRSZ_MASK: 0x3ff,
  /** Lowest of 20 bits of the offset (BPROF), in 4 KiB. */
  BPROF_SHIFT: 10,
  /** Lowest bit of the boot partition's number (BPID). */
  BPID_SHIFT: 31,
} as const;

/** Unit of CAP.TO and CRTO, in milliseconds. */
export const READY_UNIT_MS = 500;

/** CAP.AMS: weighted round robin with urgent priority class. */
export const AMS_WEIGHTED = 1 << 0;

/** Fields of the CAP register. */
export interface Capabilities {
  /** Largest queue size supported, in entries (MQES + 1). */
  readonly maxQueueEntries: number;
  /** Queues must be physically contiguous. */
  readonly contiguousQueues: boolean;
  /**
   * Arbitration mechanisms beyond round robin: bit 0 weighted round robin with urgent class, bit 1 vendor
   * specific.
   */
  readonly ams: number;
  /** Worst-case time for CSTS.RDY to follow CC.EN, in milliseconds (TO × 500). */
  readonly timeoutMs: number;
  /** Bytes between doorbells (4 << DSTRD). */
  readonly doorbellStrideBytes: number;
  /** NVM subsystem reset supported. */
  readonly nssrs: boolean;
  /** Command sets supported, bit field: 0 NVM, 6 I/O command sets by CSI, 7 none. */
  readonly css: number;
  /** Boot partitions supported. */
  readonly bps: boolean;
  /** Smallest memory page, in bytes (2 ^ (12 + MPSMIN)). */
  readonly minPageBytes: number;
  /** Largest memory page, in bytes (2 ^ (12 + MPSMAX)). */
  readonly maxPageBytes: number;
  /** Controller memory buffer supported. */
  readonly cmbs: boolean;
  /** Persistent memory region supported. */
  readonly pmrs: boolean;
  /** Controller Ready With Media supported (CAP.CRMS): CRTO has the time. */
  readonly crwms: boolean;
  /** Controller Ready Independent of Media supported (CAP.CRMS). */
  readonly crims: boolean;
}

/** Splits the CAP register into its fields. */
export function decodeCapabilities(cap: bigint): Capabilities {
  const bits = (from: number, count: number): number =>
    Number((cap >> BigInt(from)) & ((1n << BigInt(count)) - 1n));
  return {
    maxQueueEntries: bits(0, 16) + 1,
    contiguousQueues: bits(16, 1) === 1,
    ams: bits(17, 2),
    timeoutMs: bits(24, 8) * READY_UNIT_MS,
    doorbellStrideBytes: 4 << bits(32, 4),
    nssrs: bits(36, 1) === 1,
    css: bits(37, 8),
    bps: bits(45, 1) === 1,
    minPageBytes: 2 ** (12 + bits(48, 4)),
    maxPageBytes: 2 ** (12 + bits(52, 4)),
    pmrs: bits(56, 1) === 1,
    cmbs: bits(57, 1) === 1,
    crwms: bits(59, 1) === 1,
    crims: bits(60, 1) === 1,
  };
}

/** Combines the fields of CAP, the reverse of {@link decodeCapabilities}. */
export function encodeCapabilities(capabilities: Capabilities): bigint {
  const { maxQueueEntries, contiguousQueues, ams, timeoutMs, doorbellStrideBytes, nssrs } = capabilities;
  const { css, bps, minPageBytes, maxPageBytes, pmrs, cmbs, crwms, crims } = capabilities;
  const fields: readonly (readonly [from: number, value: number])[] = [
    [0, maxQueueEntries - 1],
    [16, contiguousQueues ? 1 : 0],
    [17, ams],
    [24, Math.ceil(timeoutMs / READY_UNIT_MS)],
    [32, Math.log2(doorbellStrideBytes) - 2],
    [36, nssrs ? 1 : 0],
    [37, css],
    [45, bps ? 1 : 0],
    [48, Math.log2(minPageBytes) - 12],
    [52, Math.log2(maxPageBytes) - 12],
    [56, pmrs ? 1 : 0],
    [57, cmbs ? 1 : 0],
    [59, crwms ? 1 : 0],
    [60, crims ? 1 : 0],
  ];
  return fields.reduce((cap, [from, value]) => cap | (BigInt(value) << BigInt(from)), 0n);
}

/** CC: controller configuration. */
export const ControllerConfig = {
  /** Enable. */
  EN: 1 << 0,
  /** Lowest bit of the I/O command set selected; see {@link CommandSetSelection}. */
  CSS_SHIFT: 4,
  /** Lowest bit of the memory page size: 2^(12 + MPS) bytes. */
  MPS_SHIFT: 7,
  /** Lowest bit of the arbitration mechanism; see {@link ArbitrationMechanism}. */
  AMS_SHIFT: 11,
  /** Shutdown notification: normal. */
  SHN_NORMAL: 1 << 14,
  /** Shutdown notification: abrupt. */
  SHN_ABRUPT: 2 << 14,
  /** Bits of the shutdown notification. */
  SHN_MASK: 3 << 14,
  /** Lowest bit of the I/O submission queue entry size, a power of two. */
  IOSQES_SHIFT: 16,
  /** Lowest bit of the I/O completion queue entry size, a power of two. */
  IOCQES_SHIFT: 20,
  /** Controller Ready Independent of Media Enable. */
  CRIME: 1 << 24,
} as const;

/** CRTO: times until the controller is ready, in units of {@link READY_UNIT_MS}. */
export const ReadyTimeouts = {
  /** Bits of the time until it is ready with its media (CRWMT). */
  CRWMT_MASK: 0xffff,
  /** Lowest bit of the time until it is ready independent of its media (CRIMT). */
  CRIMT_SHIFT: 16,
} as const;

/** Bits of CAP.CSS. */
export const CommandSetSupport = {
  /** The NVM Command Set. */
  nvm: 1 << 0,
  /** One or more I/O command sets, selected by CSI. */
  allSupported: 1 << 6,
  /** No I/O command set. */
  adminOnly: 1 << 7,
} as const;

/** Values of CC.AMS. */
export const ArbitrationMechanism = {
  /** Round robin. */
  roundRobin: 0,
  /** Weighted round robin with urgent priority class. */
  weighted: 1,
} as const;

/** Values of CC.CSS. */
export const CommandSetSelection = {
  /** The NVM Command Set. */
  nvm: 0,
  /** All I/O command sets of the profile in use. */
  allSupported: 6,
  /** Admin commands only. */
  adminOnly: 7,
} as const;

/** CSTS: controller status. */
export const ControllerStatus = {
  /** Ready. */
  RDY: 1 << 0,
  /** Controller fatal status. */
  CFS: 1 << 1,
  /** Lowest bit of the shutdown status. */
  SHST_SHIFT: 2,
  /** Bits of the shutdown status. */
  SHST_MASK: 3 << 2,
  /** Shutdown status: complete. */
  SHST_COMPLETE: 2 << 2,
  /** NVM subsystem reset occurred; writing 1 clears it. */
  NSSRO: 1 << 4,
} as const;

/** CMBSZ: what the buffer may hold, and its size. */
export const CmbSize = {
  /** May hold submission queues. */
  SQS: 1 << 0,
  /** May hold completion queues. */
  CQS: 1 << 1,
  /** May hold PRP and SGL lists. */
  LISTS: 1 << 2,
  /** May hold data and metadata that a command reads from the controller. */
  RDS: 1 << 3,
  /** May hold data and metadata that a command writes to the controller. */
  WDS: 1 << 4,
  /** Lowest bit of the size's unit: 4 KiB << 4 * SZU. */
  SZU_SHIFT: 8,
  /** Lowest bit of the size, in units of SZU. */
  SZ_SHIFT: 12,
} as const;

/** CMBMSC. */
export const CmbControl = {
  /** The CMB's capability registers are enabled. */
  CRE: 1 << 0,
  /** The controller's memory space for the CMB is enabled. */
  CMSE: 1 << 1,
  /** Bits of the controller base address. */
  CBA_MASK: ~0xfffn,
} as const;

/** CMBLOC. */
export const CmbLocation = {
  /** BAR that holds the CMB. */
  BIR_MASK: 7,
  /** A queue may lie partly in the CMB. */
  CQMMS: 1 << 3,
  /** The pages of a queue in the CMB may be scattered. */
  CQPDS: 1 << 4,
  /** PRP lists or SGL segments of a command may lie partly in the CMB. */
  CDPMLS: 1 << 5,
  /** PRP lists or SGL segments may lie in the CMB although their command doesn't. */
  CDPCILS: 1 << 6,
  /** Data and metadata of a command may lie partly in the CMB. */
  CDMMMS: 1 << 7,
  /** Queues in the CMB may start at any dword. */
  CQDA: 1 << 8,
  /** Lowest bit of the offset in the BAR, in units of CMBSZ.SZU. */
  OFST_SHIFT: 12,
} as const;

/** CMBSTS. */
export const CmbStatus = {
  /** The controller base address is invalid. */
  CBAI: 1 << 0,
} as const;

/** PMRCAP. */
export const PmrCapability = {
  /** Commands may read data from the controller into the PMR. */
  RDS: 1 << 3,
  /** Commands may write data from the PMR to the controller. */
  WDS: 1 << 4,
  /** Lowest bit of the BAR's number. */
  BIR_SHIFT: 5,
  /** Lowest bit of the time-out's unit: 0 is 500 ms, 1 is a minute. */
  PMRTU_SHIFT: 8,
  /** Lowest bit of the write barrier mechanisms. */
  PMRWBM_SHIFT: 10,
  /** Lowest bit of the time-out. */
  PMRTO_SHIFT: 16,
  /** Controller memory space is supported. */
  CMSS: 1 << 24,
} as const;

/** PMRCTL. */
export const PmrControl = {
  /** Enable. */
  EN: 1 << 0,
} as const;

/** PMRSTS. */
export const PmrStatus = {
  /** Bits of the error; 0: none. */
  ERR_MASK: 0xff,
  /** The PMR isn't ready. */
  NRDY: 1 << 8,
  /** The controller base address is invalid. */
  CBAI: 1 << 12,
} as const;

/** PMRMSCL: controller memory space enable. */
export const PmrSpaceControl = {
  /** The controller's memory space for the PMR is enabled. */
  CMSE: 1 << 1,
} as const;
