/** Identify data structures: NVMe Base 2.x figure "Identify Controller", NVM Command Set figure "Identify Namespace". */
import { array, ascii, bytes, type FieldType, u8, u16, u32, u64 } from "../../sys/struct.js";
import { at, record } from "./record.js";

export const IDENTIFY_BYTES = 4096;

/** A 128-bit little-endian number. */
const u128: FieldType<bigint> = {
  sizeBytes: 16,
  alignBytes: 1,
  zero: () => 0n,
  read: (view, offset) => view.getBigUint64(offset, true) | (view.getBigUint64(offset + 8, true) << 64n),
  write(view, offset, value) {
    view.setBigUint64(offset, value & 0xffff_ffff_ffff_ffffn, true);
    view.setBigUint64(offset + 8, value >> 64n, true);
  },
};

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
  cntrltype: at(111, u8),
  oacs: at(256, u16),
  acl: at(258, u8),
  aerl: at(259, u8),
  frmw: at(260, u8),
  lpa: at(261, u8),
  elpe: at(262, u8),
  npss: at(263, u8),
  wctemp: at(266, u16),
  cctemp: at(268, u16),
  tnvmcap: at(280, u128),
  unvmcap: at(296, u128),
  kas: at(320, u16),
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
  sgls: at(536, u32),
  mnan: at(540, u32),
  subnqn: at(768, ascii(256)),
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
    view.setUint32(offset, metadataBytes | (lbads << 16) | (relativePerformance << 24), true);
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
  nsattr: at(99, u8),
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
