/** Identify data structures: NVMe Base 2.x figure "Identify Controller", NVM Command Set figure "Identify Namespace". */
import { array, ascii, bytes, type FieldType, u8, u16, u32, u64 } from "../../core/struct.js";
import { powerState } from "./power-state.js";
import { at, nested, record, u24, u128 } from "./record.js";

/** Size of every Identify data structure. */
export const IDENTIFY_BYTES = 4096;

/** CNS 01h. Field names are the specification's mnemonics. */
export const identifyController = record("Identify Controller", IDENTIFY_BYTES, {
  /** PCI Vendor ID. */
  vid: at(0, u16),
  /** PCI Subsystem Vendor ID. */
  ssvid: at(2, u16),
  /** Serial number, ASCII, without the padding. */
  sn: at(4, ascii(20)),
  /** Model number, ASCII, without the padding. */
  mn: at(24, ascii(40)),
  /** Revision of the active firmware, ASCII, without the padding. */
  fr: at(64, ascii(8)),
  /** Recommended arbitration burst: 2^n commands. */
  rab: at(72, u8),
  /** Organizationally unique identifier (OUI) that the IEEE gave the vendor. */
  ieee: at(73, u24),
  /** Multi-path and namespace sharing; see {@link Cmic}. */
  cmic: at(76, u8),
  /** Maximum data transfer size: 2^n minimum memory pages (CAP.MPSMIN); 0: no limit. */
  mdts: at(77, u8),
  /** Controller identifier, unique in the NVM subsystem. */
  cntlid: at(78, u16),
  /** Version of the specification, as in register VS: major 31:16, minor 15:8, tertiary 7:0. */
  ver: at(80, u32),
  /** Typical time to resume from runtime D3, in microseconds; 0: not reported. */
  rtd3r: at(84, u32),
  /** Typical time to enter runtime D3, in microseconds; 0: not reported. */
  rtd3e: at(88, u32),
  /** Optional asynchronous events; see {@link Oaes}. */
  oaes: at(92, u32),
  /** Controller attributes; see {@link Ctratt}. */
  ctratt: at(96, u32),
  /** Read recovery levels: bit n is level n. */
  rrls: at(100, u16),
  /** Boot partition capabilities (BPCAP). */
  bpcap: at(102, u8),
  /** Typical time of an NVM subsystem shutdown, in microseconds (NSSL). */
  nssl: at(104, u32),
  /** Power loss signaling information (PLSI). */
  plsi: at(110, u8),
  /** Controller type: 1 I/O, 2 discovery, 3 administrative; 0: not reported. */
  cntrltype: at(111, u8),
  /** FRU globally unique identifier: 16 bytes, zeros: none. */
  fguid: at(112, bytes(16)),
  /** Command retry delay 1, in units of 100 ms. */
  crdt1: at(128, u16),
  /** Command retry delay 2, in units of 100 ms. */
  crdt2: at(130, u16),
  /** Command retry delay 3, in units of 100 ms. */
  crdt3: at(132, u16),
  /** Controller reachability capabilities (CRCAP). */
  crcap: at(134, u8),
  /** Controller instance uniquifier, for cross-controller reset. */
  ciu: at(135, u8),
  /** Controller instance random number, for cross-controller reset. */
  cirn: at(136, bytes(8)),
  /** NVM subsystem report: bit 0 storage device, bit 1 enclosure. */
  nvmsr: at(253, u8),
  /** VPD write cycles: bits 6:0 remaining cycles, bit 7 whether they are valid. */
  vwci: at(254, u8),
  /** Management endpoint capabilities: bit 0 SMBus/I2C, bit 1 PCIe. */
  mec: at(255, u8),
  /** Optional admin commands; see {@link Oacs}. */
  oacs: at(256, u16),
  /** Abort command limit, zero-based. */
  acl: at(258, u8),
  /** Asynchronous Event Request limit, zero-based. */
  aerl: at(259, u8),
  /** Firmware updates; see {@link Frmw}. */
  frmw: at(260, u8),
  /** Log page attributes; see {@link Lpa}. */
  lpa: at(261, u8),
  /** Error log page entries, zero-based. */
  elpe: at(262, u8),
  /** Number of power states, zero-based. */
  npss: at(263, u8),
  /** Whether vendor-specific admin commands use the standard format (bit 0). */
  avscc: at(264, u8),
  /** Autonomous power state transitions; see {@link Apsta}. */
  apsta: at(265, u8),
  /** Composite temperature of a warning, in kelvin; 0: not reported. */
  wctemp: at(266, u16),
  /** Composite temperature that is critical, in kelvin; 0: not reported. */
  cctemp: at(268, u16),
  /** Maximum time for a firmware activation, in units of 100 ms; 0: not reported. */
  mtfa: at(270, u16),
  /** Preferred size of the host memory buffer, in units of 4 KiB; 0: not supported. */
  hmpre: at(272, u32),
  /** Minimum size of the host memory buffer, in units of 4 KiB. */
  hmmin: at(276, u32),
  /** Total NVM capacity, in bytes. */
  tnvmcap: at(280, u128),
  /** Unallocated NVM capacity, in bytes. */
  unvmcap: at(296, u128),
  /** Replay protected memory block support (RPMBS). */
  rpmbs: at(312, u32),
  /** Duration of the extended self-test, in minutes. */
  edstt: at(316, u16),
  /** Device self-test options; see {@link Dsto}. */
  dsto: at(318, u8),
  /** Granularity of firmware image pieces, in units of 4 KiB; 0: not reported, FFh: no restriction. */
  fwug: at(319, u8),
  /** Granularity of the keep-alive timer, in units of 100 ms; 0: not supported. */
  kas: at(320, u16),
  /** Host controlled thermal management; see {@link Hctma}. */
  hctma: at(322, u16),
  /** Lowest thermal management temperature that can be set, in kelvin. */
  mntmt: at(324, u16),
  /** Highest thermal management temperature that can be set, in kelvin. */
  mxtmt: at(326, u16),
  /** Sanitize capabilities; see {@link Sanicap}. */
  sanicap: at(328, u32),
  /** Smallest useful entry of the host memory descriptor list, in units of 4 KiB; 0: no limit. */
  hmminds: at(332, u32),
  /** Most useful entries of the host memory descriptor list; 0: no limit. */
  hmmaxd: at(336, u16),
  /** Highest NVM set identifier. */
  nsetidmax: at(338, u16),
  /** Highest endurance group identifier. */
  endgidmax: at(340, u16),
  /** Longest ANA transition, in seconds. */
  anatt: at(342, u8),
  /** Asymmetric namespace access; see {@link Anacap}. */
  anacap: at(343, u8),
  /** Highest ANA group identifier. */
  anagrpmax: at(344, u32),
  /** Number of ANA groups. */
  nanagrpid: at(348, u32),
  /** Maximum size of the Persistent Event log, in units of 64 KiB. */
  pels: at(352, u32),
  /** Domain of the controller; 0: none. */
  domainid: at(356, u16),
  /** Key per I/O capabilities (KPIOC). */
  kpioc: at(358, u8),
  /** Longest processing of a firmware activation without reset, in units of 100 ms; 0: not reported. */
  mptfawr: at(360, u16),
  /** Maximum capacity of an endurance group, in bytes. */
  megcap: at(368, u128),
  /** Hysteresis of temperature thresholds (TMPTHHA). */
  tmpthha: at(384, u8),
  /** Command quiesce time, in milliseconds; 0: not reported. */
  cqt: at(386, u16),
  /** Configurable device personality attributes (CDPA). */
  cdpa: at(388, u16),
  /** Maximum unlimited power (MUP). */
  mup: at(390, u16),
  /** Interval power measurement sample rate (IPMSR). */
  ipmsr: at(392, u16),
  /** Maximum stop measurement time (MSMT). */
  msmt: at(394, u16),
  /** Submission queue entry sizes as powers of two: bits 3:0 required, bits 7:4 maximum. */
  sqes: at(512, u8),
  /** Completion queue entry sizes as powers of two: bits 3:0 required, bits 7:4 maximum. */
  cqes: at(513, u8),
  /** Most commands outstanding on an I/O queue; 0: not reported. */
  maxcmd: at(514, u16),
  /** Number of namespaces: the highest namespace id, unless MNAN is lower. */
  nn: at(516, u32),
  /** Optional NVM commands; see {@link Oncs}. */
  oncs: at(520, u16),
  /** Fused operations: bit 0 is compare and write. */
  fuses: at(522, u16),
  /** Format attributes; see {@link Fna}. */
  fna: at(524, u8),
  /** Volatile write cache; see {@link Vwc}. */
  vwc: at(525, u8),
  /** Atomic write unit, in blocks, zero-based. */
  awun: at(526, u16),
  /** Atomic write unit at power failure, in blocks, zero-based. */
  awupf: at(528, u16),
  /** Whether vendor-specific I/O commands use the standard format (bit 0). */
  icsvscc: at(530, u8),
  /** Namespace write protection; see {@link Nwpc}. */
  nwpc: at(531, u8),
  /** Atomic compare and write unit, in blocks, zero-based. */
  acwu: at(532, u16),
  /** Copy descriptor formats: bit n is format n. */
  ocfs: at(534, u16),
  /** SGL support; see {@link Sgls}. */
  sgls: at(536, u32),
  /** Maximum number of namespaces that may exist; 0: as many as NN. */
  mnan: at(540, u32),
  /** Most namespace attachments in the domain, summed over its I/O controllers; 0: no limit. */
  maxdna: at(544, u128),
  /** Most namespaces attached to this controller; 0: no limit. */
  maxcna: at(560, u32),
  /** Optimal aggregated queue depth; 0: not reported. */
  oaqd: at(564, u32),
  /** Recommended host-initiated refresh interval (RHIRI). */
  rhiri: at(568, u8),
  /** Time of a host-initiated refresh (HIRT). */
  hirt: at(569, u8),
  /** Most memory range tracking descriptors of this controller (CMMRTD). */
  cmmrtd: at(570, u16),
  /** Most memory range tracking descriptors of the subsystem (NMMRTD). */
  nmmrtd: at(572, u16),
  /** Smallest memory range tracking granularity (MINMRTG). */
  minmrtg: at(574, u8),
  /** Largest memory range tracking granularity (MAXMRTG). */
  maxmrtg: at(575, u8),
  /** Tracking attributes (TRATTR). */
  trattr: at(576, u8),
  /** Most user data migration queues of this controller (MCUDMQ). */
  mcudmq: at(578, u16),
  /** Most user data migration queues of the subsystem (MNSUDMQ). */
  mnsudmq: at(580, u16),
  /** Most memory ranges of a controller data queue (MCMR). */
  mcmr: at(582, u16),
  /** Most controller data queue memory ranges of the subsystem (NMCMR). */
  nmcmr: at(584, u16),
  /** Most PRP entries that describe a controller data queue (MCDQPC). */
  mcdqpc: at(586, u16),
  /** NVMe qualified name of the subsystem. */
  subnqn: at(768, ascii(256, "\0")),
  /** Size of an I/O command capsule, in units of 16 bytes (fabrics). */
  ioccsz: at(1792, u32),
  /** Size of an I/O response capsule, in units of 16 bytes (fabrics). */
  iorcsz: at(1796, u32),
  /** Offset of in-capsule data, in units of 16 bytes (fabrics). */
  icdoff: at(1800, u16),
  /** Fabrics controller attributes (FCATT). */
  fcatt: at(1802, u8),
  /** Most SGL data block descriptors in a capsule (fabrics); 0: no limit. */
  msdbd: at(1803, u8),
  /** Optional fabrics commands (OFCS). */
  ofcs: at(1804, u16),
  /** Discovery controller type (DCTYPE). */
  dctype: at(1806, u8),
  /** Cross-controller reset limit (CCRL). */
  ccrl: at(1807, u8),
  /** Power state descriptors; the first NPSS + 1 are valid. */
  psd: at(2048, array(nested(powerState), 32)),
  /** Vendor specific. */
  vs: at(3072, bytes(1024)),
});
/** Identify Controller (CNS 01h), decoded: fields under the specification's mnemonics. */
export type IdentifyController = ReturnType<typeof identifyController.decode>;

/** One LBA format: a 32-bit word of LBAF0 to LBAF63. */
export interface LbaFormat {
  /** Metadata bytes per block (MS). */
  readonly metadataBytes: number;
  /** Data bytes per block (2 ^ LBADS); 0: the format is not available. */
  readonly blockSizeBytes: number;
  /** Relative performance, 0 is best (RP). */
  readonly relativePerformance: number;
}

const lbaFormat: FieldType<LbaFormat> = {
  sizeBytes: 4,
  alignBytes: 4,
  zero: () => ({ metadataBytes: 0, blockSizeBytes: 0, relativePerformance: 0 }),
  read(view, offset) {
    const word = view.getUint32(offset, true);
    const lbads = (word >>> 16) & 0xff;
    return {
      metadataBytes: word & 0xffff,
      blockSizeBytes: lbads === 0 ? 0 : 2 ** lbads,
      relativePerformance: (word >>> 24) & 3,
    };
  },
  write(view, offset, { metadataBytes, blockSizeBytes, relativePerformance }) {
    const lbads = blockSizeBytes === 0 ? 0 : Math.log2(blockSizeBytes);
    view.setUint32(offset, (metadataBytes | (lbads << 16) | (relativePerformance << 24)) >>> 0, true);
  },
};

/** CNS 00h. */
export const identifyNamespace = record("Identify Namespace", IDENTIFY_BYTES, {
  /** Namespace size, in blocks. */
  nsze: at(0, u64),
  /** Namespace capacity: most allocated blocks. */
  ncap: at(8, u64),
  /** Namespace utilization: number of allocated blocks. */
  nuse: at(16, u64),
  /** Namespace features; see {@link Nsfeat}. */
  nsfeat: at(24, u8),
  /** Number of LBA formats, zero-based. */
  nlbaf: at(25, u8),
  /** LBA format in use; see {@link Flbas}. */
  flbas: at(26, u8),
  /** Metadata capabilities; see {@link Mc}. */
  mc: at(27, u8),
  /** Protection capabilities; see {@link Dpc}. */
  dpc: at(28, u8),
  /** Protection settings; see {@link Dps}. */
  dps: at(29, u8),
  /** Sharing capabilities; see {@link Nmic}. */
  nmic: at(30, u8),
  /** Reservation capabilities; see {@link Rescap}. */
  rescap: at(31, u8),
  /** Format progress; see {@link Fpi}. */
  fpi: at(32, u8),
  /** Deallocated blocks; see {@link Dlfeat}. */
  dlfeat: at(33, u8),
  /** Atomic write unit of the namespace, in blocks, zero-based. */
  nawun: at(34, u16),
  /** Atomic write unit at power failure, in blocks, zero-based. */
  nawupf: at(36, u16),
  /** Atomic compare and write unit, in blocks, zero-based. */
  nacwu: at(38, u16),
  /** Atomic boundary size, in blocks, zero-based. */
  nabsn: at(40, u16),
  /** Offset of the first atomic boundary, in blocks (NABO). */
  nabo: at(42, u16),
  /** Atomic boundary size at power failure, in blocks, zero-based. */
  nabspf: at(44, u16),
  /** Optimal I/O boundary, in blocks; 0: not reported. */
  noiob: at(46, u16),
  /** NVM capacity, in bytes. */
  nvmcap: at(48, u128),
  /** Preferred write granularity, in blocks, zero-based. */
  npwg: at(64, u16),
  /** Preferred write alignment, in blocks, zero-based. */
  npwa: at(66, u16),
  /** Preferred deallocate granularity, in blocks, zero-based. */
  npdg: at(68, u16),
  /** Preferred deallocate alignment, in blocks, zero-based. */
  npda: at(70, u16),
  /** Optimal write size, in blocks, zero-based. */
  nows: at(72, u16),
  /** Most blocks in one source range of a Copy. */
  mssrl: at(74, u16),
  /** Most blocks in a Copy. */
  mcl: at(76, u32),
  /** Most source ranges in a Copy, zero-based. */
  msrc: at(80, u8),
  /** Key per I/O status (KPIOS). */
  kpios: at(81, u8),
  /** Number of LBA formats with their own attributes (NULBAF). */
  nulbaf: at(82, u8),
  /** Key per I/O data access alignment and granularity, in blocks (KPIODAAG). */
  kpiodaag: at(84, u32),
  /** ANA group of the namespace; 0: none. */
  anagrpid: at(92, u32),
  /** Namespace attributes: bit 0 is write-protected. */
  nsattr: at(99, u8),
  /** NVM set of the namespace; 0: none. */
  nvmsetid: at(100, u16),
  /** Endurance group of the namespace; 0: none. */
  endgid: at(102, u16),
  /** Namespace globally unique identifier, 16 bytes; zeros: none. */
  nguid: at(104, bytes(16)),
  /** IEEE extended unique identifier, 8 bytes; zeros: none. */
  eui64: at(120, bytes(8)),
  /** LBA formats; the first NLBAF + 1 are valid. */
  lbaf: at(128, array(lbaFormat, 64)),
  /** Vendor specific. */
  vs: at(384, bytes(3712)),
});
/** Identify Namespace (CNS 00h, NVM Command Set), decoded: fields under the specification's mnemonics. */
export type IdentifyNamespace = ReturnType<typeof identifyNamespace.decode>;

/** The LBA format in use: FLBAS bits 3:0, and bits 6:5 as its bits 5:4 if there are more than 16 formats. */
export function currentLbaFormat(namespace: IdentifyNamespace): LbaFormat {
  const { flbas, nlbaf, lbaf } = namespace;
  const index = (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
  return lbaf[index] ?? lbafUnavailable;
}

const lbafUnavailable: LbaFormat = { metadataBytes: 0, blockSizeBytes: 0, relativePerformance: 0 };

/** One extended LBA format: the layout of PI (NVM Command Set, figure "Extended LBA Format Data Structure"). */
export interface ExtendedLbaFormat {
  /** Bits of the storage tag (STS). */
  readonly storageTagBits: number;
  /** Guard: 16, 32 or 64 bits (PIF 0, 1, 2). */
  readonly guardBits: 16 | 32 | 64;
}

const guards = [16, 32, 64] as const;
/** PIF: QPIF (bits 12:9) holds the format. */
const QUALIFIED = 3;

const extendedLbaFormat: FieldType<ExtendedLbaFormat> = {
  sizeBytes: 4,
  alignBytes: 4,
  zero: () => ({ storageTagBits: 0, guardBits: 16 }),
  read(view, offset) {
    const word = view.getUint32(offset, true);
    const pif = (word >>> 7) & 3;
    const format = pif === QUALIFIED ? (word >>> 9) & 0xf : pif;
    return { storageTagBits: word & 0x7f, guardBits: guards[format] ?? 16 };
  },
  write(view, offset, { storageTagBits, guardBits }) {
    view.setUint32(offset, storageTagBits | (guards.indexOf(guardBits) << 7), true);
  },
};

/** CNS 05h, CSI 00h. */
export const identifyNvmNamespace = record(
  "I/O Command Set specific Identify Namespace (NVM)",
  IDENTIFY_BYTES,
  {
    /** Logical block storage tag mask: bits of the storage tag that are checked. */
    lbstm: at(0, u64),
    /** Protection information capabilities (PIC). */
    pic: at(8, u8),
    /** Protection information format attributes (PIFA). */
    pifa: at(9, u8),
    /** Extended LBA formats: one for each of the LBA formats. */
    elbaf: at(12, array(extendedLbaFormat, 64)),
    /** Preferred deallocate granularity, 32-bit form (NPDGL). */
    npdgl: at(268, u32),
    /** Preferred read granularity (NPRG). */
    nprg: at(272, u32),
    /** Preferred read alignment (NPRA). */
    npra: at(276, u32),
    /** Optimal read size (NORS). */
    nors: at(280, u32),
    /** Preferred deallocate alignment, 32-bit form (NPDAL). */
    npdal: at(284, u32),
    /** LBA format placement shard size (LBAPSS). */
    lbapss: at(288, u32),
    /** Granularity at which the allocation of blocks is tracked (TLBAAG). */
    tlbaag: at(292, u32),
  },
);
/** Identify Namespace of the NVM Command Set (CNS 05h, CSI 00h), decoded. */
export type IdentifyNvmNamespace = ReturnType<typeof identifyNvmNamespace.decode>;

/** CNS 06h, CSI 00h. */
export const identifyNvmController = record(
  "I/O Command Set specific Identify Controller (NVM)",
  IDENTIFY_BYTES,
  {
    /** Most data of a Verify: 2^n minimum memory pages; 0: no limit. */
    vsl: at(0, u8),
    /** Most data of a Write Zeroes: 2^n minimum memory pages; 0: no limit. */
    wzsl: at(1, u8),
    /** Most data of a Write Uncorrectable: 2^n minimum memory pages; 0: no limit. */
    wusl: at(2, u8),
    /** Most ranges of a Dataset Management; 0: no limit. */
    dmrl: at(3, u8),
    /** Most blocks in a range of a Dataset Management; 0: no limit. */
    dmrsl: at(4, u32),
    /** Most blocks in all ranges of a Dataset Management; 0: no limit. */
    dmsl: at(8, u64),
    /** Key per I/O capabilities of the command set (KPIOCAP). */
    kpiocap: at(16, u8),
    /** Most data of a Write Zeroes that deallocates: 2^n minimum memory pages (WZDSL). */
    wzdsl: at(17, u8),
    /** Optional admin commands of the command set (AOCS). */
    aocs: at(18, u16),
    /** Version of the command set's specification, laid out as register VS. */
    ver: at(20, u32),
    /** Format of LBA migration queues (LBAMQF). */
    lbamqf: at(24, u8),
  },
);
/** Identify Controller of the NVM Command Set (CNS 06h, CSI 00h), decoded. */
export type IdentifyNvmController = ReturnType<typeof identifyNvmController.decode>;

/** CNS 08h. */
export const identifyIndependentNamespace = record(
  "I/O Command Set Independent Identify Namespace",
  IDENTIFY_BYTES,
  {
    /** Namespace features common to all command sets (NSFEAT). */
    nsfeat: at(0, u8),
    /** Sharing capabilities; see {@link Nmic}. */
    nmic: at(1, u8),
    /** Reservation capabilities; see {@link Rescap}. */
    rescap: at(2, u8),
    /** Format progress; see {@link Fpi}. */
    fpi: at(3, u8),
    /** ANA group of the namespace; 0: none. */
    anagrpid: at(4, u32),
    /** Namespace attributes: bit 0 is write-protected. */
    nsattr: at(8, u8),
    /** NVM set of the namespace; 0: none. */
    nvmsetid: at(10, u16),
    /** Endurance group of the namespace; 0: none. */
    endgid: at(12, u16),
    /** Namespace status: bit 0 is ready. */
    nstat: at(14, u8),
    /** Key per I/O status (KPIOS). */
    kpios: at(15, u8),
    /** Highest key tag (MAXKT). */
    maxkt: at(16, u16),
    /** Reachability group of the namespace; 0: none. */
    rgrpid: at(20, u32),
  },
);
/** Identify Namespace independent of the command set (CNS 08h), decoded. */
export type IdentifyIndependentNamespace = ReturnType<typeof identifyIndependentNamespace.decode>;
