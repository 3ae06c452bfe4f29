/** Dataset Management and Copy: lists of block ranges (NVM Command Set 1.x). */
import { checkInteger, checkU64 } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { ProtectionInformation } from "../protection/information.js";

/** A range of logical blocks. */
export interface BlockRange {
  readonly lba: bigint;
  readonly blocks: number;
}

/** A range with hints for Dataset Management (context attributes). */
export interface DatasetRange extends BlockRange {
  /** Access Frequency, 0 (none given) to 5. */
  readonly accessFrequency?: number | undefined;
  /** Access Latency: 0 (none given), 1 long, 2 normal, 3 short. */
  readonly accessLatency?: number | undefined;
  /** Expected to be read, or written, sequentially. */
  readonly sequentialRead?: boolean | undefined;
  readonly sequentialWrite?: boolean | undefined;
  /** Expected to be written soon. */
  readonly writePrepare?: boolean | undefined;
  /** Blocks per command as expected, 0 (none given) to 255. */
  readonly accessSizeBlocks?: number | undefined;
}

/** What Dataset Management is for; one of them at least. */
export interface DatasetAttributes {
  /** The controller may forget the ranges' content (AD). */
  readonly deallocate?: boolean | undefined;
  /** They are to be read, or written, as one (IDR, IDW). */
  readonly integralRead?: boolean | undefined;
  readonly integralWrite?: boolean | undefined;
}

/** Ranges of one Dataset Management command, 16 bytes each. */
export const MAX_DATASET_RANGES = 256;
const DATASET_RANGE_BYTES = 16;

/** CDW11. @throws ArgumentError where nothing is asked for */
export function datasetAttributes(attributes: DatasetAttributes): number {
  const word =
    (attributes.integralRead === true ? 1 : 0) |
    (attributes.integralWrite === true ? 2 : 0) |
    (attributes.deallocate === true ? 4 : 0);
  if (word === 0)
    throw new ArgumentError("Dataset Management needs an attribute: deallocate, integralRead, ...");
  return word;
}

/** @throws ArgumentError */
export function encodeDatasetRanges(ranges: readonly DatasetRange[]): Uint8Array {
  checkInteger("ranges.length", ranges.length, 1, MAX_DATASET_RANGES);
  const bytes = new Uint8Array(ranges.length * DATASET_RANGE_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, range] of ranges.entries()) {
    const at = i * DATASET_RANGE_BYTES;
    const context =
      checkInteger("accessFrequency", range.accessFrequency ?? 0, 0, 5) |
      (checkInteger("accessLatency", range.accessLatency ?? 0, 0, 3) << 4) |
      (range.sequentialRead === true ? 1 << 8 : 0) |
      (range.sequentialWrite === true ? 1 << 9 : 0) |
      (range.writePrepare === true ? 1 << 10 : 0) |
      (checkInteger("accessSizeBlocks", range.accessSizeBlocks ?? 0, 0, 0xff) << 24);
    view.setUint32(at, context, true);
    view.setUint32(at + 4, checkInteger("blocks", range.blocks, 1, 0xffff_ffff), true);
    view.setBigUint64(at + 8, checkU64("lba", range.lba), true);
  }
  return bytes;
}

/** A source of Copy, with what its protection information is expected to say. */
export interface CopyRange extends BlockRange {
  readonly applicationTag?: number | undefined;
  readonly applicationTagMask?: number | undefined;
  /** By default the low bits of the LBA, with type 3 zero. */
  readonly referenceTag?: bigint | undefined;
  readonly storageTag?: bigint | undefined;
}

/** Bytes of a source range, by descriptor format. */
export const copyRangeBytes = { 0: 32, 1: 40 } as const;

/**
 * Source ranges in descriptor format 0 (tags for a 16-bit guard) or 1 (for larger ones).
 * @throws ArgumentError
 */
export function encodeCopyRanges(
  ranges: readonly CopyRange[],
  format: 0 | 1,
  protection: ProtectionInformation | undefined,
): Uint8Array {
  const size = copyRangeBytes[format];
  const bytes = new Uint8Array(ranges.length * size);
  const view = new DataView(bytes.buffer);
  for (const [i, range] of ranges.entries()) {
    const at = i * size;
    view.setBigUint64(at + 8, checkU64("lba", range.lba), true);
    view.setUint16(at + 16, checkInteger("blocks", range.blocks, 1, 65_536) - 1, true);
    const { applicationTag, storageTag } = range;
    const mask = range.applicationTagMask ?? (applicationTag === undefined ? 0 : 0xffff);
    view.setUint16(at + size - 4, checkInteger("applicationTag", applicationTag ?? 0, 0, 0xffff), true);
    view.setUint16(at + size - 2, checkInteger("applicationTagMask", mask, 0, 0xffff), true);
    if (protection === undefined) {
      if (range.referenceTag !== undefined || applicationTag !== undefined || storageTag !== undefined) {
        throw new ArgumentError("this namespace has no end-to-end protection");
      }
      continue;
    }
    const bits = BigInt(protection.referenceTagBits);
    const byLba = protection.format.type === 3 ? 0n : range.lba & ((1n << bits) - 1n);
    const { cdw2, cdw3, cdw14 } = protection.tagDwords({
      referenceTag: range.referenceTag ?? byLba,
      storageTag,
    });
    if (format === 0) {
      view.setUint32(at + 24, cdw14, true);
      continue;
    }
    // The 10 bytes stand as in the information itself: the most significant first.
    view.setUint16(at + 26, cdw2);
    view.setUint32(at + 28, cdw3);
    view.setUint32(at + 32, cdw14);
  }
  return bytes;
}
