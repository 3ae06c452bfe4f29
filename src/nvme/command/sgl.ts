/**
 * Scatter Gather Lists (NVMe Base 2.x, section "Scatter Gather List"), which describe data of any alignment in any number
 * of pieces. A list uses the same memory of a command's slot as a PRP list.
 */
import { Psdt } from "../spec/queue-entries.js";
import type { Segment } from "./data-ranges.js";
import type { PrpList } from "./prp.js";

const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;

/** SGL Descriptor Type: bits 7:4 of a descriptor's last byte. */
export const SglDescriptorType = { dataBlock: 0, bitBucket: 1, segment: 2, lastSegment: 3 } as const;

/** PRP or SGL for Data Transfer, bits 15:14 of CDW0: MPTR is the address of the metadata, or of an SGL descriptor. */
export const PSDT_SGL = Psdt.sgl << Psdt.SHIFT;
export const PSDT_SGL_METADATA = Psdt.sglMetadata << Psdt.SHIFT;

/** Identify Controller, SGLS: support, bits 1:0; ... */
export const SGLS_SUPPORT_MASK = 3;
/** ... its value for dword alignment and granularity; ... */
export const SGLS_DWORD_ALIGNED = 2;
/** ... bit buckets; ... */
export const SGLS_BIT_BUCKET = 1 << 16;
/** ... and an SGL for the metadata. */
export const SGLS_METADATA_SGL = 1 << 19;

const TWO_32 = 2 ** 32;
const NOTHING: Segment = { low: 0, high: 0, length: 0, isBucket: false };

/** Whether the descriptor in the command suffices: there is one segment, and it isn't a bit bucket. */
function isInline(segments: readonly Segment[]): boolean {
  return segments.length === 1 && segments[0]?.isBucket === false;
}

/** Options of an SGL. */
export interface SglOptions {
  /**
   * Most descriptors in a segment, including the link to the next one: 2 or more. Default: the first segment fills a memory
   * page, and the second has the rest, because QEMU's controller misreads lists of three segments.
   */
  readonly segmentDescriptors?: number | undefined;
}

/** Most descriptors in the first segment, and in each other segment. */
interface SegmentRoom {
  readonly first: number;
  readonly others: number;
}

function segmentRoom(pageBytes: number, options: SglOptions | undefined): SegmentRoom {
  const most = options?.segmentDescriptors;
  if (most === undefined) return { first: pageBytes / DESCRIPTOR_BYTES, others: Number.POSITIVE_INFINITY };
  return { first: most, others: most };
}

/** Descriptors in list memory that the segments need, including links. */
export function sglDescriptors(
  segments: readonly Segment[],
  pageBytes: number,
  options: SglOptions | undefined,
): number {
  if (isInline(segments)) return 0;
  const { length } = segments;
  const { first, others } = segmentRoom(pageBytes, options);
  if (length <= first) return length;
  // Every segment but the last uses one descriptor for the link.
  const links = others === Number.POSITIVE_INFINITY ? 1 : Math.ceil((length - first) / (others - 1));
  return length + links;
}

/** Number of descriptors that fit a slot's list pages. */
export function sglRoom(listPages: number, pageBytes: number): number {
  return (listPages * pageBytes) / DESCRIPTOR_BYTES;
}

/**
 * Writes an SGL: the first descriptor to `into` at `slot`, and the others to the list, one segment after the other.
 * @param used descriptors of the list in use before
 * @returns descriptors of the list in use after
 */
export function writeSgl(
  into: Uint32Array,
  slot: number,
  segments: readonly Segment[],
  pageBytes: number,
  options: SglOptions | undefined,
  list: PrpList,
  used = 0,
): number {
  const [first] = segments;
  if (first !== undefined && isInline(segments)) {
    writeDescriptor(into, slot, first.low, first.high, first.length, SglDescriptorType.dataBlock);
    return used;
  }
  const room = segmentRoom(pageBytes, options);
  let words = into;
  let link = slot;
  let at = used;
  let most = room.first;
  for (let done = 0; done < segments.length; most = room.others) {
    const left = segments.length - done;
    const isLast = left <= most;
    const { segment, lastSegment } = SglDescriptorType;
    writeLink(words, link, list, at, isLast ? left : most, isLast ? lastSegment : segment);
    const end = done + (isLast ? left : most - 1);
    for (; done < end; done++, at++) {
      const { low, high, length, isBucket } = segments[done] ?? NOTHING;
      const type = isBucket ? SglDescriptorType.bitBucket : SglDescriptorType.dataBlock;
      writeDescriptor(list.words, list.at + at * DESCRIPTOR_WORDS, low, high, length, type);
    }
    words = list.words;
    link = list.at + at * DESCRIPTOR_WORDS;
    if (!isLast) at++;
  }
  return at;
}

/** Writes a descriptor of a segment: `count` descriptors of the list, from `first` on. */
function writeLink(
  words: Uint32Array,
  at: number,
  list: PrpList,
  first: number,
  count: number,
  type: number,
): void {
  const low = list.iovaLow + first * DESCRIPTOR_BYTES;
  const high = list.iovaHigh + Math.floor(low / TWO_32);
  writeDescriptor(words, at, low % TWO_32, high, count * DESCRIPTOR_BYTES, type);
}

/**
 * Writes the SGL of the metadata after the data's descriptors in the list.
 * @returns offset of its first descriptor, in bytes from the list's start
 */
export function writeMetadataSgl(
  segments: readonly Segment[],
  pageBytes: number,
  options: SglOptions | undefined,
  list: PrpList,
  used: number,
): number {
  writeSgl(list.words, list.at + used * DESCRIPTOR_WORDS, segments, pageBytes, options, list, used + 1);
  return used * DESCRIPTOR_BYTES;
}

function writeDescriptor(
  words: Uint32Array,
  at: number,
  low: number,
  high: number,
  length: number,
  type: number,
): void {
  words[at] = low;
  words[at + 1] = high;
  words[at + 2] = length;
  words[at + 3] = type << 28;
}
