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

/** Descriptors that the list needs besides the one in the command, links between pages among them. */
export function sglDescriptors(segments: readonly Segment[], pageBytes: number): number {
  if (isInline(segments)) return 0;
  const perPage = pageBytes / DESCRIPTOR_BYTES;
  const { length } = segments;
  // All pages but the last give up one descriptor for the link.
  return length <= perPage ? length : length + Math.ceil((length - perPage) / (perPage - 1));
}

/** Descriptors there is room for in a slot's list pages. */
export function sglRoom(listPages: number, pageBytes: number): number {
  return (listPages * pageBytes) / DESCRIPTOR_BYTES;
}

/**
 * Writes the SGL: its first descriptor to `into`, at `slot`, and the others to the list, one segment a page.
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
  if (first !== undefined && isInline(segments)) {
    writeDescriptor(into, slot, first.low, first.high, first.length, SglDescriptorType.dataBlock);
    return used;
  }
  const perPage = pageBytes / DESCRIPTOR_BYTES;
  let at = used;
  let left = segments.length;
  // Where the descriptor stands that names the segment being written.
  let link = into;
  let linkAt = slot;
  let room = 0;
  for (const { low, high, length, isBucket } of segments) {
    while (room === 0 || (room === 1 && left > 1)) {
      if (room === 1) {
        link = list.words;
        linkAt = list.at + at * DESCRIPTOR_WORDS;
        at++;
      }
      // To the end of the page: a segment never crosses one, so its memory need not be contiguous beyond it.
      room = perPage - (at % perPage);
      const isLast = left <= room;
      const address = list.iovaLow + at * DESCRIPTOR_BYTES;
      writeDescriptor(
        link,
        linkAt,
        address % TWO_32,
        list.iovaHigh + Math.floor(address / TWO_32),
        (isLast ? left : room) * DESCRIPTOR_BYTES,
        isLast ? SglDescriptorType.lastSegment : SglDescriptorType.segment,
      );
    }
    const type = isBucket ? SglDescriptorType.bitBucket : SglDescriptorType.dataBlock;
    writeDescriptor(list.words, list.at + at * DESCRIPTOR_WORDS, low, high, length, type);
    at++;
    left--;
    room--;
  }
  return at;
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
