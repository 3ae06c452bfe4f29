/** Identify data structures: NVMe Base 2.x figure "Identify Controller", NVM Command Set figure "Identify Namespace". */
import { array, ascii, bytes, type FieldType, u8, u16, u32, u64 } from "../../core/struct.js";
import { powerState } from "./power-state.js";
import { at, nested, record, u24, u128 } from "./record.js";

export const IDENTIFY_BYTES = 4096;

/** CNS 01h. Field names are the specification's mnemonics. */
export const identifyController = record("Identify Controller", IDENTIFY_BYTES, {
  vid: at(0, u16),
  ssvid: at(2, u16),
  sn: at(4, ascii(20)),
  mn: at(24, ascii(40)),
  fr: at(64, ascii(8)),
  rab: at(72, u8),
  /** IEEE OUI of the vendor. */
  ieee: at(73, u24),
  cmic: at(76, u8),
  mdts: at(77, u8),
  cntlid: at(78, u16),
  ver: at(80, u32),
  rtd3r: at(84, u32),
  rtd3e: at(88, u32),
  oaes: at(92, u32),
  ctratt: at(96, u32),
  rrls: at(100, u16),
  bpcap: at(102, u8),
  nssl: at(104, u32),
  plsi: at(110, u8),
  cntrltype: at(111, u8),
  fguid: at(112, bytes(16)),
  crdt1: at(128, u16),
  crdt2: at(130, u16),
  crdt3: at(132, u16),
  crcap: at(134, u8),
  ciu: at(135, u8),
  cirn: at(136, bytes(8)),
  nvmsr: at(253, u8),
  vwci: at(254, u8),
  mec: at(255, u8),
  oacs: at(256, u16),
  acl: at(258, u8),
  aerl: at(259, u8),
  frmw: at(260, u8),
  lpa: at(261, u8),
  elpe: at(262, u8),
  npss: at(263, u8),
  avscc: at(264, u8),
  apsta: at(265, u8),
  wctemp: at(266, u16),
  cctemp: at(268, u16),
  mtfa: at(270, u16),
  hmpre: at(272, u32),
  hmmin: at(276, u32),
  tnvmcap: at(280, u128),
  unvmcap: at(296, u128),
  rpmbs: at(312, u32),
  edstt: at(316, u16),
  dsto: at(318, u8),
  fwug: at(319, u8),
  kas: at(320, u16),
  hctma: at(322, u16),
  mntmt: at(324, u16),
  mxtmt: at(326, u16),
  sanicap: at(328, u32),
  hmminds: at(332, u32),
  hmmaxd: at(336, u16),
  nsetidmax: at(338, u16),
  endgidmax: at(340, u16),
  anatt: at(342, u8),
  anacap: at(343, u8),
  anagrpmax: at(344, u32),
  nanagrpid: at(348, u32),
  pels: at(352, u32),
  domainid: at(356, u16),
  kpioc: at(358, u8),
  mptfawr: at(360, u16),
  megcap: at(368, u128),
  tmpthha: at(384, u8),
  cqt: at(386, u16),
  cdpa: at(388, u16),
  mup: at(390, u16),
  ipmsr: at(392, u16),
  msmt: at(394, u16),
  sqes: at(512, u8),
  cqes: at(513, u8),
  maxcmd: at(514, u16),
  nn: at(516, u32),
  oncs: at(520, u16),
  fuses: at(522, u16),
  fna: at(524, u8),
  vwc: at(525, u8),
  awun: at(526, u16),
  awupf: at(528, u16),
  icsvscc: at(530, u8),
  nwpc: at(531, u8),
  acwu: at(532, u16),
  ocfs: at(534, u16),
  sgls: at(536, u32),
  mnan: at(540, u32),
  maxdna: at(544, u128),
  maxcna: at(560, u32),
  oaqd: at(564, u32),
  rhiri: at(568, u8),
  hirt: at(569, u8),
  cmmrtd: at(570, u16),
  nmmrtd: at(572, u16),
  minmrtg: at(574, u8),
  maxmrtg: at(575, u8),
  trattr: at(576, u8),
  mcudmq: at(578, u16),
  mnsudmq: at(580, u16),
  mcmr: at(582, u16),
  nmcmr: at(584, u16),
  mcdqpc: at(586, u16),
  subnqn: at(768, ascii(256, "\0")),
  ioccsz: at(1792, u32),
  iorcsz: at(1796, u32),
  icdoff: at(1800, u16),
  fcatt: at(1802, u8),
  msdbd: at(1803, u8),
  ofcs: at(1804, u16),
  dctype: at(1806, u8),
  ccrl: at(1807, u8),
  /** Power states; NPSS + 1 of them are there. */
  psd: at(2048, array(nested(powerState), 32)),
  /** Vendor specific. */
  vs: at(3072, bytes(1024)),
});
export type IdentifyController = ReturnType<typeof identifyController.decode>;

/** One LBA format: a 32-bit word of LBAF0 to LBAF63. */
export interface LbaFormat {
  /** Metadata bytes per block (MS). */
  readonly metadataBytes: number;
  /** Data bytes per block (2 ^ LBADS); 0 where the format is not available. */
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
  nsze: at(0, u64),
  ncap: at(8, u64),
  nuse: at(16, u64),
  nsfeat: at(24, u8),
  nlbaf: at(25, u8),
  flbas: at(26, u8),
  mc: at(27, u8),
  dpc: at(28, u8),
  dps: at(29, u8),
  nmic: at(30, u8),
  rescap: at(31, u8),
  fpi: at(32, u8),
  dlfeat: at(33, u8),
  nawun: at(34, u16),
  nawupf: at(36, u16),
  nacwu: at(38, u16),
  nabsn: at(40, u16),
  nabo: at(42, u16),
  nabspf: at(44, u16),
  noiob: at(46, u16),
  nvmcap: at(48, u128),
  npwg: at(64, u16),
  npwa: at(66, u16),
  npdg: at(68, u16),
  npda: at(70, u16),
  nows: at(72, u16),
  mssrl: at(74, u16),
  mcl: at(76, u32),
  msrc: at(80, u8),
  kpios: at(81, u8),
  nulbaf: at(82, u8),
  kpiodaag: at(84, u32),
  anagrpid: at(92, u32),
  nsattr: at(99, u8),
  nvmsetid: at(100, u16),
  endgid: at(102, u16),
  nguid: at(104, bytes(16)),
  eui64: at(120, bytes(8)),
  lbaf: at(128, array(lbaFormat, 64)),
  /** Vendor specific. */
  vs: at(384, bytes(3712)),
});
export type IdentifyNamespace = ReturnType<typeof identifyNamespace.decode>;

/** The LBA format in use: FLBAS bits 3:0, and bits 6:5 above them where there are more than 16 formats. */
export function currentLbaFormat(namespace: IdentifyNamespace): LbaFormat {
  const { flbas, nlbaf, lbaf } = namespace;
  const index = (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
  return lbaf[index] ?? lbafUnavailable;
}

const lbafUnavailable: LbaFormat = { metadataBytes: 0, blockSizeBytes: 0, relativePerformance: 0 };

/** One extended LBA format: how PI is laid out (NVM Command Set, figure "Extended LBA Format Data Structure"). */
export interface ExtendedLbaFormat {
  /** Bits of the storage tag (STS). */
  readonly storageTagBits: number;
  /** Guard: 16, 32 or 64 bits (PIF 0, 1, 2). */
  readonly guardBits: 16 | 32 | 64;
}

const guards = [16, 32, 64] as const;
/** PIF: the format stands in QPIF (bits 12:9). */
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
    lbstm: at(0, u64),
    pic: at(8, u8),
    pifa: at(9, u8),
    elbaf: at(12, array(extendedLbaFormat, 64)),
    npdgl: at(268, u32),
    nprg: at(272, u32),
    npra: at(276, u32),
    nors: at(280, u32),
    npdal: at(284, u32),
    lbapss: at(288, u32),
    tlbaag: at(292, u32),
  },
);
export type IdentifyNvmNamespace = ReturnType<typeof identifyNvmNamespace.decode>;

/** CNS 06h, CSI 00h. */
export const identifyNvmController = record(
  "I/O Command Set specific Identify Controller (NVM)",
  IDENTIFY_BYTES,
  {
    vsl: at(0, u8),
    wzsl: at(1, u8),
    wusl: at(2, u8),
    dmrl: at(3, u8),
    dmrsl: at(4, u32),
    dmsl: at(8, u64),
    kpiocap: at(16, u8),
    wzdsl: at(17, u8),
    aocs: at(18, u16),
    ver: at(20, u32),
    lbamqf: at(24, u8),
  },
);
export type IdentifyNvmController = ReturnType<typeof identifyNvmController.decode>;

/** CNS 08h. */
export const identifyIndependentNamespace = record(
  "I/O Command Set Independent Identify Namespace",
  IDENTIFY_BYTES,
  {
    nsfeat: at(0, u8),
    nmic: at(1, u8),
    rescap: at(2, u8),
    fpi: at(3, u8),
    anagrpid: at(4, u32),
    nsattr: at(8, u8),
    nvmsetid: at(10, u16),
    endgid: at(12, u16),
    nstat: at(14, u8),
    kpios: at(15, u8),
    maxkt: at(16, u16),
    rgrpid: at(20, u32),
  },
);
export type IdentifyIndependentNamespace = ReturnType<typeof identifyIndependentNamespace.decode>;

/** Namespace Identification Descriptors (CNS 03h): types and lengths. */
export const NamespaceDescriptor = {
  eui64: { type: 1, bytes: 8 },
  nguid: { type: 2, bytes: 16 },
  uuid: { type: 3, bytes: 16 },
  commandSet: { type: 4, bytes: 1 },
} as const;
