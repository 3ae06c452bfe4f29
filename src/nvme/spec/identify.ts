/** Identify data structures: NVMe Base 2.x figure "Identify Controller", NVM Command Set figure "Identify Namespace". */
import { array, ascii, bytes, type FieldType, u8, u16, u32, u64 } from "../../sys/struct.js";
import { at, record, u128 } from "./record.js";

export const IDENTIFY_BYTES = 4096;

/** CNS 01h. Field names are the specification's mnemonics. */
export const identifyController = record("Identify Controller", IDENTIFY_BYTES, {
  vid: at(0, u16),
  ssvid: at(2, u16),
  sn: at(4, ascii(20)),
  mn: at(24, ascii(40)),
  fr: at(64, ascii(8)),
  rab: at(72, u8),
  ieee: at(73, bytes(3)),
  cmic: at(76, u8),
  mdts: at(77, u8),
  cntlid: at(78, u16),
  ver: at(80, u32),
  rtd3r: at(84, u32),
  rtd3e: at(88, u32),
  oaes: at(92, u32),
  ctratt: at(96, u32),
  rrls: at(100, u16),
  cntrltype: at(111, u8),
  fguid: at(112, bytes(16)),
  crdt1: at(128, u16),
  crdt2: at(130, u16),
  crdt3: at(132, u16),
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
  nsetidmax: at(338, u16),
  endgidmax: at(340, u16),
  anatt: at(342, u8),
  anacap: at(343, u8),
  anagrpmax: at(344, u32),
  nanagrpid: at(348, u32),
  pels: at(352, u32),
  domainid: at(356, u16),
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
  subnqn: at(768, ascii(256, "\0")),
  /** Power State Descriptor 0: maximum power in centiwatts; the others' fields are left to who needs them. */
  psd0mp: at(2048, u16),
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
  nulbaf: at(82, u8),
  anagrpid: at(92, u32),
  nsattr: at(99, u8),
  nvmsetid: at(100, u16),
  endgid: at(102, u16),
  nguid: at(104, bytes(16)),
  eui64: at(120, bytes(8)),
  lbaf: at(128, array(lbaFormat, 64)),
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

const extendedLbaFormat: FieldType<ExtendedLbaFormat> = {
  sizeBytes: 4,
  alignBytes: 4,
  zero: () => ({ storageTagBits: 0, guardBits: 16 }),
  read(view, offset) {
    const word = view.getUint32(offset, true);
    return { storageTagBits: word & 0x7f, guardBits: guards[(word >>> 7) & 3] ?? 16 };
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
    elbaf: at(12, array(extendedLbaFormat, 64)),
  },
);

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
  },
);

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
  },
);

/** Namespace Identification Descriptors (CNS 03h): types and lengths. */
export const NamespaceDescriptor = {
  eui64: { type: 1, bytes: 8 },
  nguid: { type: 2, bytes: 16 },
  uuid: { type: 3, bytes: 16 },
  commandSet: { type: 4, bytes: 1 },
} as const;
