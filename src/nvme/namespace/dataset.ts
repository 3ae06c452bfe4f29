/** Block ranges of Dataset Management and Copy (NVM Command Set 1.x). */
import { checkInteger, checkKeys, checkList } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { ProtectionInformation } from "../protection/information.js";
import { BROADCAST_NSID } from "../spec/opcodes.js";
import { checkLba } from "./lba.js";

/** A range of logical blocks. */
export interface BlockRange {
  /** First block. */
  readonly lba: bigint | number;
  /** Number of blocks. */
  readonly blocks: number;
}

/** A range with hints for Dataset Management (context attributes). */
export interface DatasetRange extends BlockRange {
  /** Access Frequency, 1 to 5; 0 (default): no hint. */
  readonly accessFrequency?: number | undefined;
  /** Access Latency: 1 long, 2 normal, 3 short; 0 (default): no hint. */
  readonly accessLatency?: number | undefined;
  /** The range is expected to be read sequentially. */
  readonly sequentialRead?: boolean | undefined;
  /** The range is expected to be written sequentially. */
  readonly sequentialWrite?: boolean | undefined;
  /** The range is expected to be written soon. */
  readonly writePrepare?: boolean | undefined;
  /** Expected number of blocks per command, 1 to 255; 0 (default): no hint. */
  readonly accessSizeBlocks?: number | undefined;
}

/** Attributes of Dataset Management. At least one must be set. */
export interface DatasetAttributes {
  /** The controller may deallocate the ranges (AD): their content is lost. */
  readonly deallocate?: boolean | undefined;
  /** Each range is expected to be read as one object (IDR). */
  readonly integralRead?: boolean | undefined;
  /** Each range is expected to be written as one object (IDW). */
  readonly integralWrite?: boolean | undefined;
}

/** Most ranges of a Dataset Management command. */
export const MAX_DATASET_RANGES = 256;
const DATASET_RANGE_BYTES = 16;

/** CDW11 of Dataset Management. @throws ArgumentError if no attribute is set */
export function datasetAttributes(attributes: DatasetAttributes): number {
  checkKeys("attributes", attributes, ["deallocate", "integralRead", "integralWrite"]);
  const word =
    (attributes.integralRead === true ? 1 : 0) |
    (attributes.integralWrite === true ? 2 : 0) |
    (attributes.deallocate === true ? 4 : 0);
  if (word === 0)
    throw new ArgumentError(
      "Dataset Management needs an attribute: deallocate, integralRead or integralWrite",
    );
  return word;
}

const datasetRange: readonly (keyof DatasetRange)[] = [
  "lba",
  "blocks",
  "accessFrequency",
  "accessLatency",
  "sequentialRead",
  "sequentialWrite",
  "writePrepare",
  "accessSizeBlocks",
];

/** The data of Dataset Management. @throws ArgumentError if a range is invalid */
export function encodeDatasetRanges(ranges: readonly DatasetRange[]): Uint8Array {
  checkList("ranges", ranges, 1, MAX_DATASET_RANGES);
  const bytes = new Uint8Array(ranges.length * DATASET_RANGE_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, range] of ranges.entries()) {
    checkKeys("range", range, datasetRange);
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
    view.setBigUint64(at + 8, BigInt(checkLba("lba", range.lba)), true);
  }
  return bytes;
}

/** A source range of Copy, with the expected tags of its protection information. */
export interface CopyRange extends BlockRange {
  /** Namespace of the range, in descriptor formats 2 and 3; the one that is written by default. */
  readonly nsid?: number | undefined;
  /** In descriptor formats 2 and 3: fails if the controller can't copy faster than the host could (FCO). */
  readonly fastOnly?: boolean | undefined;
  /** Expected application tag, 16 bits; 0 by default. */
  readonly applicationTag?: number | undefined;
  /**
   * Bits of the application tag that are checked; by default all if `applicationTag` is set, otherwise none.
   */
  readonly applicationTagMask?: number | undefined;
  /** Expected initial reference tag; by default the low bits of the LBA, with type 3 zero. */
  readonly referenceTag?: bigint | undefined;
  /** Expected storage tag; 0n by default. */
  readonly storageTag?: bigint | undefined;
}

const copyRange: readonly (keyof CopyRange)[] = [
  "nsid",
  "fastOnly",
  "lba",
  "blocks",
  "applicationTag",
  "applicationTagMask",
  "referenceTag",
  "storageTag",
];

/** Bytes of a source range descriptor, by descriptor format. */
export const copyRangeBytes = { 0: 32, 1: 40, 2: 32, 3: 40 } as const;
/** Source options of a range (SOPT). */
const FAST_COPY_ONLY = 1 << 15;

/** Whether a range needs descriptor format 2 or 3. */
export function namesSource({ nsid, fastOnly }: CopyRange): boolean {
  return nsid !== undefined || fastOnly === true;
}

/**
 * The data of Copy: source ranges in descriptor format 0 (tags for a 16-bit guard) or 1 (for larger guards), or in 2 or 3, which
 * also name the source's namespace.
 * @param nsid the namespace that is written
 * @throws ArgumentError if a range is invalid
 */
export function encodeCopyRanges(
  ranges: readonly CopyRange[],
  format: 0 | 1 | 2 | 3,
  protection: ProtectionInformation | undefined,
  nsid: number,
): Uint8Array {
  const size = copyRangeBytes[format];
  const bytes = new Uint8Array(ranges.length * size);
  const view = new DataView(bytes.buffer);
  for (const [i, range] of ranges.entries()) {
    checkKeys("range", range, copyRange);
    const at = i * size;
    if (format >= 2) {
      view.setUint32(at, checkInteger("nsid", range.nsid ?? nsid, 1, BROADCAST_NSID - 1), true);
      view.setUint16(at + 22, range.fastOnly === true ? FAST_COPY_ONLY : 0, true);
    } else if (namesSource(range)) {
      throw new ArgumentError(`nsid and fastOnly of a range need descriptor format 2 or 3, not ${format}`);
    }
    view.setBigUint64(at + 8, BigInt(checkLba("lba", range.lba)), true);
    view.setUint16(at + 16, checkInteger("blocks", range.blocks, 1, 65_536) - 1, true);
    const { applicationTag, storageTag } = range;
    const mask = range.applicationTagMask ?? (applicationTag === undefined ? 0 : 0xffff);
    view.setUint16(at + size - 4, checkInteger("applicationTag", applicationTag ?? 0, 0, 0xffff), true);
    view.setUint16(at + size - 2, checkInteger("applicationTagMask", mask, 0, 0xffff), true);
    if (protection === undefined) {
      if (range.referenceTag !== undefined || applicationTag !== undefined || storageTag !== undefined) {
        throw new ArgumentError("this namespace doesn't have end-to-end protection; leave out the tags");
      }
      continue;
    }
    const bits = BigInt(protection.referenceTagBits);
    const byLba = protection.format.type === 3 ? 0n : BigInt(range.lba) & ((1n << bits) - 1n);
    const { cdw2, cdw3, cdw14 } = protection.tagDwords({
      referenceTag: range.referenceTag ?? byLba,
      storageTag,
    });
    if (size === copyRangeBytes[0]) {
      view.setUint32(at + 24, cdw14, true);
      continue;
    }
    // The 10 bytes are big-endian, as in the protection information.
    view.setUint16(at + 26, cdw2);
    view.setUint32(at + 28, cdw3);
    view.setUint32(at + 32, cdw14);
  }
  return bytes;
}
