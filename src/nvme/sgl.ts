/**
 * Scatter Gather Lists (NVMe Base 2.x, section "Scatter Gather List"): how a command names data of any alignment in any
 * number of pieces. Lists stand in the same memory of a command's slot as its PRP list would.
 */
import type { Segment } from "./data-ranges.js";
import type { PrpList } from "./prp.js";

const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;

/** SGL Descriptor Type: bits 7:4 of a descriptor's last byte. */
export const SglDescriptorType = { dataBlock: 0, bitBucket: 1, segment: 2, lastSegment: 3 } as const;

/** PRP or SGL for Data Transfer, bits 15:14 of CDW0: MPTR is an address, or it names a descriptor. */
export const PSDT_SGL = 1 << 14;
export const PSDT_SGL_METADATA = 2 << 14;

/** Identify Controller, SGLS: bits 1:0 are the support, ... */
export const SGLS_SUPPORT_MASK = 3;
/** ... here with dword alignment and granularity; ... */
export const SGLS_DWORD_ALIGNED = 2;
/** ... bit buckets; ... */
export const SGLS_BIT_BUCKET = 1 << 16;
/** ... and metadata by an SGL of its own. */
export const SGLS_METADATA_SGL = 1 << 19;

const TWO_32 = 2 ** 32;

/** Whether a descriptor in the command itself is enough: one run, which is no bit bucket. */
function isInline(segments: readonly Segment[]): boolean {
  return segments.length === 1 && segments[0]?.isBucket === false;
}

/** Descriptors that the list needs besides the one in the command, a link between its segments among them. */
export function sglDescriptors(segments: readonly Segment[], pageBytes: number): number {
  if (isInline(segments)) return 0;
  const { length } = segments;
  return length <= pageBytes / DESCRIPTOR_BYTES ? length : length + 1;
}

/** Descriptors there is room for in a slot's list pages. */
export function sglRoom(listPages: number, pageBytes: number): number {
  return (listPages * pageBytes) / DESCRIPTOR_BYTES;
}

/**
 * Writes the SGL: its first descriptor to `into`, at `slot`, and the others to the list, in one segment where a page has
 * room for it, else in two. More there never are: QEMU's controller takes the end of a third for that of the second.
 * @param used descriptors of the list that are taken
 * @returns descriptors taken now
 */
export function writeSgl(
  into: Uint32Array,
  slot: number,
  segments: readonly Segment[],
  pageBytes: number,
  list: PrpList,
  used = 0,
): number {
  const [first] = segments;
  const { length } = segments;
  if (first !== undefined && isInline(segments)) {
    writeDescriptor(into, slot, first.low, first.high, first.length, SglDescriptorType.dataBlock);
    return used;
  }
  const perPage = pageBytes / DESCRIPTOR_BYTES;
  if (length <= perPage) writeLink(into, slot, list, used, length, SglDescriptorType.lastSegment);
  else writeLink(into, slot, list, used, perPage, SglDescriptorType.segment);
  let at = used;
  for (const [i, segment] of segments.entries()) {
    if (i === perPage - 1 && length > perPage) {
      const link = list.at + at * DESCRIPTOR_WORDS;
      writeLink(list.words, link, list, at + 1, length - i, SglDescriptorType.lastSegment);
      at++;
    }
    const type = segment.isBucket ? SglDescriptorType.bitBucket : SglDescriptorType.dataBlock;
    writeDescriptor(
      list.words,
      list.at + at * DESCRIPTOR_WORDS,
      segment.low,
      segment.high,
      segment.length,
      type,
    );
    at++;
  }
  return at;
}

/** A descriptor that names `count` descriptors of the list, from `first` on. */
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
 * Writes the SGL of the metadata behind what the data's took.
 * @returns where its first descriptor stands, in bytes from the list's start
 */
export function writeMetadataSgl(
  segments: readonly Segment[],
  pageBytes: number,
  list: PrpList,
  used: number,
): number {
  writeSgl(list.words, list.at + used * DESCRIPTOR_WORDS, segments, pageBytes, list, used + 1);
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
