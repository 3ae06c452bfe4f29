/** End-to-end protection information: NVM Command Set 1.x, section "End-to-end Data Protection". */

import { IO_PRCHK_APP, IO_PRCHK_GUARD, IO_PRCHK_REF } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";

const CRC16_POLYNOMIAL = 0x8bb7;

const crc16Table = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) !== 0 ? (crc << 1) ^ CRC16_POLYNOMIAL : crc << 1;
  return crc;
});

/** CRC-16 of T10 (polynomial 8BB7h, most significant bit first, from 0), going on from `crc`. */
export function crc16(bytes: Uint8Array, from: number, to: number, crc = 0): number {
  for (let i = from; i < to; i++) {
    crc = ((crc << 8) ^ (crc16Table[((crc >>> 8) ^ (bytes[i] ?? 0)) & 0xff] ?? 0)) & 0xffff;
  }
  return crc;
}

/** The polynomial AD93D23594C93659h, reversed. */
const CRC64_POLYNOMIAL = 0x9a6c_9329_ac4b_c9b5n;

const crc64Low = new Uint32Array(256);
const crc64High = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let crc = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) !== 0n ? (crc >> 1n) ^ CRC64_POLYNOMIAL : crc >> 1n;
  crc64Low[byte] = Number(crc & 0xffff_ffffn);
  crc64High[byte] = Number(crc >> 32n);
}

/** A 64-bit value as two halves, so that a CRC costs no bigint per byte. */
export interface Crc64 {
  low: number;
  high: number;
}

export function crc64Start(into: Crc64): void {
  into.low = 0xffff_ffff;
  into.high = 0xffff_ffff;
}

/** Takes bytes into the CRC-64 of NVMe (reflected); {@link crc64End} completes it. */
export function crc64Update(into: Crc64, bytes: Uint8Array, from: number, to: number): void {
  let { low, high } = into;
  for (let i = from; i < to; i++) {
    const index = (low ^ (bytes[i] ?? 0)) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ (crc64Low[index] ?? 0);
    high = (high >>> 8) ^ (crc64High[index] ?? 0);
  }
  into.low = low >>> 0;
  into.high = high >>> 0;
}

export function crc64End(into: Crc64): void {
  into.low = ~into.low >>> 0;
  into.high = ~into.high >>> 0;
}

/** How a namespace's blocks are protected. */
export interface ProtectionFormat {
  /** 1 to 3. */
  readonly type: number;
  readonly guardBits: number;
  readonly blockSizeBytes: number;
  readonly metadataBytes: number;
  /** The information stands in the metadata's first bytes, and not in its last. */
  readonly first: boolean;
}

/** What a command says about protection: CDW12's flags, CDW14 (and CDW3) and CDW15. */
export interface ProtectionArguments {
  flags: number;
  appTag: number;
  appTagMask: number;
  /** Initial or expected reference tag of the first block; 48 bits at most. */
  referenceTag: number;
}

const REF32 = 2 ** 32;
const REF48 = 2 ** 48;

/** Generates and checks protection information, block by block. Data and metadata stand in separate buffers. */
export class Protection {
  private readonly crc: Crc64 = { low: 0, high: 0 };
  private readonly tupleBytes: number;
  private readonly tupleAt: number;
  private readonly referenceModulus: number;

  constructor(readonly format: ProtectionFormat) {
    this.tupleBytes = format.guardBits === 16 ? 8 : 16;
    this.tupleAt = format.first ? 0 : format.metadataBytes - this.tupleBytes;
    this.referenceModulus = format.guardBits === 16 ? REF32 : REF48;
  }

  /** Whether the information is all the metadata there is: PRACT then strips and inserts it. */
  get isWholeMetadata(): boolean {
    return this.format.metadataBytes === this.tupleBytes;
  }

  /** Fills in the information for `blocks` blocks. */
  generate(data: Uint8Array, metadata: Uint8Array, blocks: number, with_: ProtectionArguments): void {
    for (let block = 0; block < blocks; block++) {
      const at = block * this.format.metadataBytes + this.tupleAt;
      this.guard(data, metadata, block);
      const view = new DataView(metadata.buffer, metadata.byteOffset + at, this.tupleBytes);
      const reference = this.referenceOf(with_.referenceTag, block);
      if (this.tupleBytes === 8) {
        view.setUint16(0, this.crc.low);
        view.setUint16(2, with_.appTag);
        view.setUint32(4, reference);
      } else {
        view.setUint32(0, this.crc.high);
        view.setUint32(4, this.crc.low);
        view.setUint16(8, with_.appTag);
        view.setUint16(10, Math.floor(reference / REF32));
        view.setUint32(12, reference % REF32);
      }
    }
  }

  /** @returns a status: the first check of the first block that fails */
  check(data: Uint8Array, metadata: Uint8Array, blocks: number, against: ProtectionArguments): number {
    const { flags } = against;
    const { type } = this.format;
    if ((flags & (IO_PRCHK_GUARD | IO_PRCHK_APP | IO_PRCHK_REF)) === 0) return NvmeStatus.success;
    for (let block = 0; block < blocks; block++) {
      const at = block * this.format.metadataBytes + this.tupleAt;
      const view = new DataView(metadata.buffer, metadata.byteOffset + at, this.tupleBytes);
      const isSmall = this.tupleBytes === 8;
      const appTag = view.getUint16(isSmall ? 2 : 8);
      const reference = isSmall ? view.getUint32(4) : view.getUint16(10) * REF32 + view.getUint32(12);
      // "All PI checks are disabled where the application tag is FFFFh (type 3: and the reference tag all ones)."
      if (appTag === 0xffff && (type !== 3 || reference === this.referenceModulus - 1)) continue;
      if ((flags & IO_PRCHK_GUARD) !== 0) {
        this.guard(data, metadata, block);
        const matches = isSmall
          ? view.getUint16(0) === this.crc.low
          : view.getUint32(0) === this.crc.high && view.getUint32(4) === this.crc.low;
        if (!matches) return NvmeStatus.endToEndGuardCheckError;
      }
      if ((flags & IO_PRCHK_APP) !== 0 && ((appTag ^ against.appTag) & against.appTagMask) !== 0) {
        return NvmeStatus.endToEndApplicationTagCheckError;
      }
      if (
        (flags & IO_PRCHK_REF) !== 0 &&
        type !== 3 &&
        reference !== this.referenceOf(against.referenceTag, block)
      ) {
        return NvmeStatus.endToEndReferenceTagCheckError;
      }
    }
    return NvmeStatus.success;
  }

  private referenceOf(first: number, block: number): number {
    return this.format.type === 3 ? first : (first + block) % this.referenceModulus;
  }

  /** Guard of a block: its data, and the metadata that stands before the information. */
  private guard(data: Uint8Array, metadata: Uint8Array, block: number): void {
    const { blockSizeBytes, metadataBytes } = this.format;
    const from = block * blockSizeBytes;
    const meta = block * metadataBytes;
    if (this.tupleBytes === 8) {
      const crc = crc16(data, from, from + blockSizeBytes);
      this.crc.low = crc16(metadata, meta, meta + this.tupleAt, crc);
      return;
    }
    crc64Start(this.crc);
    crc64Update(this.crc, data, from, from + blockSizeBytes);
    crc64Update(this.crc, metadata, meta, meta + this.tupleAt);
    crc64End(this.crc);
  }
}
