/** Protection information (end-to-end data protection), generated and checked in software. */
import { checkInteger, checkKeys, checkObject, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { NvmeError } from "../command/error.js";
import { NvmeStatus } from "../spec/status.js";
import { type Crc64, crc16, crc32c, crc64 } from "./crc.js";

/** Format of a namespace's protection information (NVM Command Set 1.x, "Protection Information Formats"). */
export interface ProtectionFormat {
  /** Type of protection. The reference tag is the LBA (1), a count from a value that the host chooses (2), or undefined (3). */
  readonly type: 1 | 2 | 3;
  /** Size of the guard, in bits: CRC-16, CRC-32C or CRC-64. */
  readonly guardBits: 16 | 32 | 64;
  /** Bits of the storage tag: the high bits of the field it shares with the reference tag. */
  readonly storageTagBits: number;
  /** Data bytes per block. */
  readonly blockSizeBytes: number;
  /** Metadata bytes per block. */
  readonly metadataBytes: number;
  /** Whether the information is in the first bytes of the metadata; otherwise in the last. */
  readonly first: boolean;
}

/** Tags in protection information. */
export interface ProtectionTags {
  /** Application tag, 16 bits, 0 by default; FFFFh disables the checks of the block. */
  readonly applicationTag?: number | undefined;
  /** Reference tag of the first block, 0n by default; it counts up with each block, but not with type 3. */
  readonly referenceTag?: bigint | undefined;
  /** Storage tag, 0n by default. */
  readonly storageTag?: bigint | undefined;
}

/** Options of {@link ProtectionInformation.check}: the expected tags, and the fields to check. */
export interface ProtectionChecks extends ProtectionTags {
  /** Whether the guard is checked; true by default. */
  readonly guard?: boolean | undefined;
  /**
   * Bits of the application tag that are checked; all by default if `applicationTag` is given, otherwise none.
   */
  readonly applicationTagMask?: number | undefined;
  /** Whether the reference tag is checked; by default if `referenceTag` is given. */
  readonly reference?: boolean | undefined;
  /** Whether the storage tag is checked; by default if `storageTag` is given. */
  readonly storage?: boolean | undefined;
}

const protectionTags: readonly (keyof ProtectionTags)[] = ["applicationTag", "referenceTag", "storageTag"];

/** The names of {@link ProtectionChecks}. */
export const protectionChecks: readonly (keyof ProtectionChecks)[] = [
  ...protectionTags,
  "guard",
  "applicationTagMask",
  "reference",
  "storage",
];

/** Layouts by guard size: guard, application tag of 2 bytes, then storage and reference tag (`spaceBits` together). */
const layouts = {
  16: { bytes: 8, applicationAt: 2, spaceBits: 32 },
  32: { bytes: 16, applicationAt: 4, spaceBits: 80 },
  64: { bytes: 16, applicationAt: 8, spaceBits: 48 },
} as const;

/** Storage and reference tag, at most 80 bits together, as 32-bit words. */
interface Space {
  readonly top: number;
  readonly high: number;
  readonly low: number;
}

function wordsOf(value: bigint): Space {
  return {
    top: Number((value >> 64n) & 0xffffn),
    high: Number((value >> 32n) & 0xffff_ffffn),
    low: Number(value & 0xffff_ffffn),
  };
}

/** Generates and checks protection information in software, like a controller does with PRACT and PRCHK. */
export class ProtectionInformation {
  /** Size of a block's information in bytes: 8, or 16 if the guard has more than 16 bits. */
  readonly sizeBytes: 8 | 16;
  /** Size of the reference tag, in bits. */
  readonly referenceTagBits: number;
  /** Whether the metadata consists of the information only. If so, commands with PRACT transfer no metadata. */
  readonly isWholeMetadata: boolean;
  /** Offset of the information in the metadata. */
  private readonly at: number;
  private readonly applicationAt: number;
  private readonly spaceBits: number;
  private readonly crc: Crc64 = { low: 0, high: 0 };

  /** @throws ArgumentError if the format is invalid */
  constructor(
    /** Format of the blocks. */
    readonly format: ProtectionFormat,
  ) {
    checkObject("format", format);
    const { type, guardBits, storageTagBits, metadataBytes, first } = format;
    checkInteger("type", type, 1, 3);
    const layout = typeof guardBits === "number" ? layouts[guardBits] : undefined;
    if (layout === undefined)
      throw new ArgumentError(`guardBits must be 16, 32 or 64, got ${show(guardBits)}`);
    checkInteger("storageTagBits", storageTagBits, guardBits === 32 ? 16 : 0, Math.min(64, layout.spaceBits));
    checkInteger("metadataBytes", metadataBytes, layout.bytes, 65_535);
    this.sizeBytes = layout.bytes;
    this.applicationAt = layout.applicationAt;
    this.spaceBits = layout.spaceBits;
    this.referenceTagBits = layout.spaceBits - storageTagBits;
    this.isWholeMetadata = metadataBytes === layout.bytes;
    this.at = first ? 0 : metadataBytes - layout.bytes;
  }

  /**
   * Writes the information of all blocks.
   * @param data the blocks; each is followed by its metadata if `metadata` is undefined
   * @throws ArgumentError if the lengths don't match, or a tag doesn't fit
   */
  generate(data: Uint8Array, metadata: Uint8Array | undefined, tags: ProtectionTags = {}): void {
    checkKeys("tags", tags, protectionTags);
    const walk = this.walk(data, metadata);
    const application = tags.applicationTag ?? 0;
    const fixed = wordsOf(this.storageBits(tags.storageTag));
    const next = this.counter(tags);
    const { view } = walk;
    for (let block = 0; block < walk.blocks; block++) {
      const at = block * walk.metadataStride + walk.metadataAt + this.at;
      this.guardOf(data, walk.bytes, block * walk.dataStride, at);
      const { low, high } = this.crc;
      if (this.format.guardBits === 16) view.setUint16(at, low);
      else if (this.format.guardBits === 32) view.setUint32(at, low);
      else {
        view.setUint32(at, high);
        view.setUint32(at + 4, low);
      }
      const end = at + this.sizeBytes;
      view.setUint16(at + this.applicationAt, application);
      view.setUint32(end - 4, fixed.low | next.low);
      if (this.spaceBits >= 48) view.setUint16(end - 6, fixed.high | next.high);
      if (this.spaceBits === 80) {
        view.setUint16(end - 8, (fixed.high | next.high) >>> 16);
        view.setUint16(end - 10, fixed.top | next.top);
      }
      next.step();
    }
  }

  /**
   * Checks the information of all blocks like a controller. Blocks whose application tag is FFFFh (with type 3: and whose
   * reference tag is all ones) are not checked.
   * @param data as for {@link generate}
   * @throws NvmeError with the status of a controller: End-to-end Guard, Application Tag, Reference Tag or Storage Tag Check Error;
   *   ArgumentError as generate()
   */
  check(data: Uint8Array, metadata: Uint8Array | undefined, against: ProtectionChecks = {}): void {
    checkKeys("against", against, protectionChecks);
    const walk = this.walk(data, metadata);
    const { applicationTag, referenceTag, storageTag } = against;
    const application = applicationTag ?? 0;
    const mask = checkInteger(
      "applicationTagMask",
      against.applicationTagMask ?? (applicationTag === undefined ? 0 : 0xffff),
      0,
      0xffff,
    );
    const expected = wordsOf(this.storageBits(storageTag));
    const all = wordsOf((1n << BigInt(this.referenceTagBits)) - 1n);
    const everything = wordsOf((1n << BigInt(this.spaceBits)) - 1n);
    const next = this.counter(against);
    const {
      guard = true,
      reference = referenceTag !== undefined,
      storage = storageTag !== undefined,
    } = against;
    const { view } = walk;
    const { type, guardBits } = this.format;
    for (let block = 0; block < walk.blocks; block++, next.step()) {
      const at = block * walk.metadataStride + walk.metadataAt + this.at;
      const end = at + this.sizeBytes;
      const low = view.getUint32(end - 4);
      let high = this.spaceBits >= 48 ? view.getUint16(end - 6) : 0;
      if (this.spaceBits === 80) high += view.getUint16(end - 8) * 0x1_0000;
      const top = this.spaceBits === 80 ? view.getUint16(end - 10) : 0;
      const tag = view.getUint16(at + this.applicationAt);
      // The storage tag is not part of this test.
      const isAllOnes =
        ((low & all.low) ^ all.low) === 0 &&
        ((high & all.high) ^ all.high) === 0 &&
        (top & all.top) === all.top;
      if (tag === 0xffff && (type !== 3 || isAllOnes)) continue;
      if (guard) {
        this.guardOf(data, walk.bytes, block * walk.dataStride, at);
        const same =
          guardBits === 16
            ? view.getUint16(at) === this.crc.low
            : guardBits === 32
              ? view.getUint32(at) === this.crc.low
              : view.getUint32(at) === this.crc.high && view.getUint32(at + 4) === this.crc.low;
        if (!same) throw failure(block, NvmeStatus.endToEndGuardCheckError);
      }
      if (((tag ^ application) & mask) !== 0) {
        throw failure(block, NvmeStatus.endToEndApplicationTagCheckError);
      }
      if (
        reference &&
        (((low ^ next.low) & all.low) !== 0 ||
          ((high ^ next.high) & all.high) !== 0 ||
          ((top ^ next.top) & all.top) !== 0)
      ) {
        throw failure(block, NvmeStatus.endToEndReferenceTagCheckError);
      }
      if (
        storage &&
        (((low ^ expected.low) & everything.low & ~all.low) !== 0 ||
          ((high ^ expected.high) & everything.high & ~all.high) !== 0 ||
          ((top ^ expected.top) & everything.top & ~all.top) !== 0)
      ) {
        throw failure(block, NvmeStatus.endToEndStorageTagCheckError);
      }
    }
  }

  /**
   * Encodes the initial storage and reference tag (written or expected) for a command.
   * @throws ArgumentError if a tag doesn't fit
   */
  tagDwords(tags: ProtectionTags): {
    /** CDW2: the highest bits. */
    readonly cdw2: number;
    /** CDW3: the middle bits. */
    readonly cdw3: number;
    /** CDW14: the lowest bits. */
    readonly cdw14: number;
  } {
    checkKeys("tags", tags, protectionTags);
    const { top, high, low } = wordsOf(
      this.storageBits(tags.storageTag) | this.fitting("referenceTag", tags.referenceTag ?? 0n),
    );
    return { cdw2: top, cdw3: high, cdw14: low };
  }

  private fitting(name: "referenceTag", tag: bigint): bigint {
    if (typeof tag !== "bigint" || tag < 0n || tag >> BigInt(this.referenceTagBits) !== 0n) {
      throw new ArgumentError(`${name} ${tag} doesn't fit ${this.referenceTagBits} bits`);
    }
    return tag;
  }

  private storageBits(tag = 0n): bigint {
    const { storageTagBits } = this.format;
    if (typeof tag !== "bigint" || tag < 0n || tag >> BigInt(storageTagBits) !== 0n) {
      throw new ArgumentError(`storageTag ${tag} doesn't fit ${storageTagBits} bits`);
    }
    return tag << BigInt(this.referenceTagBits);
  }

  /** Counts the reference tag from block to block, as words. */
  private counter(tags: ProtectionTags): { low: number; high: number; top: number; step(): void } {
    checkInteger("applicationTag", tags.applicationTag ?? 0, 0, 0xffff);
    const start = wordsOf(this.fitting("referenceTag", tags.referenceTag ?? 0n));
    const last = wordsOf((1n << BigInt(this.referenceTagBits)) - 1n);
    const counts = this.format.type !== 3;
    return {
      ...start,
      step() {
        if (!counts) return;
        this.low = ((this.low + 1) & last.low) >>> 0;
        if (this.low === 0) this.high = ((this.high + 1) & last.high) >>> 0;
      },
    };
  }

  private walk(data: Uint8Array, metadata: Uint8Array | undefined) {
    const { blockSizeBytes, metadataBytes } = this.format;
    const dataStride = metadata === undefined ? blockSizeBytes + metadataBytes : blockSizeBytes;
    const blocks = data.length / dataStride;
    if (!Number.isInteger(blocks) || blocks === 0) {
      throw new ArgumentError(
        `data.length must be a multiple of ${dataStride} and not 0, got ${data.length}`,
      );
    }
    if (metadata !== undefined && metadata.length !== blocks * metadataBytes) {
      throw new ArgumentError(
        `${blocks} blocks have ${blocks * metadataBytes} bytes of metadata, not ${metadata.length}`,
      );
    }
    const bytes = metadata ?? data;
    return {
      blocks,
      bytes,
      view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      dataStride,
      metadataStride: metadata === undefined ? dataStride : metadataBytes,
      metadataAt: metadata === undefined ? blockSizeBytes : 0,
    };
  }

  /** Computes the guard of a block, over its data and the metadata before the information. */
  private guardOf(data: Uint8Array, metadata: Uint8Array, dataAt: number, informationAt: number): void {
    const { crc } = this;
    const dataEnd = dataAt + this.format.blockSizeBytes;
    const metadataAt = informationAt - this.at;
    if (this.format.guardBits === 16) {
      crc.low = crc16(metadata, metadataAt, informationAt, crc16(data, dataAt, dataEnd));
    } else if (this.format.guardBits === 32) {
      crc.low = crc32c(metadata, metadataAt, informationAt, crc32c(data, dataAt, dataEnd));
    } else {
      crc.low = 0;
      crc.high = 0;
      crc64(crc, data, dataAt, dataEnd);
      crc64(crc, metadata, metadataAt, informationAt);
    }
  }
}

function failure(block: number, status: number): NvmeError {
  return new NvmeError(`protection information of block ${block}`, status);
}
