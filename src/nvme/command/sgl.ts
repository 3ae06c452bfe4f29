/**
 * Scatter Gather Lists (NVMe Base 2.x, section "Scatter Gather List"): how a command names data of any alignment in any
 * number of pieces. Lists stand in the same memory of a command's slot as its PRP list would.
 */
import { Psdt } from "../spec/queue-entries.js";
import type { Segment } from "./data-ranges.js";
import type { PrpList } from "./prp.js";

const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;

/** SGL Descriptor Type: bits 7:4 of a descriptor's last byte. */
export const SglDescriptorType = { dataBlock: 0, bitBucket: 1, segment: 2, lastSegment: 3 } as const;

/** PRP or SGL for Data Transfer, bits 15:14 of CDW0: MPTR is an address, or it names a descriptor. */
export const PSDT_SGL = Psdt.sgl << Psdt.SHIFT;
export const PSDT_SGL_METADATA = Psdt.sglMetadata << Psdt.SHIFT;

/** Identify Controller, SGLS: bits 1:0 are the support, ... */
export const SGLS_SUPPORT_MASK = 3;
/** ... here with dword alignment and granularity; ... */
export const SGLS_DWORD_ALIGNED = 2;
/** ... bit buckets; ... */
export const SGLS_BIT_BUCKET = 1 << 16;
/** ... and metadata by an SGL of its own. */
export const SGLS_METADATA_SGL = 1 << 19;

const TWO_32 = 2 ** 32;
const NOTHING: Segment = { low: 0, high: 0, length: 0, isBucket: false };

/** Whether a descriptor in the command itself is enough: one run, which is no bit bucket. */
function isInline(segments: readonly Segment[]): boolean {
  return segments.length === 1 && segments[0]?.isBucket === false;
}

/** How a list is cut into segments. */
export interface SglOptions {
  /**
   * Descriptors of a segment at most, its link to the next one among them: 2 or more. Left out there are two segments at most,
   * a memory page and the rest, since QEMU's controller takes the end of a third for that of the second.
   */
  readonly segmentDescriptors?: number | undefined;
}

/** Descriptors of the first segment at most, and of each other one. */
interface SegmentRoom {
  readonly first: number;
  readonly others: number;
}

function segmentRoom(pageBytes: number, options: SglOptions | undefined): SegmentRoom {
  const most = options?.segmentDescriptors;
  if (most === undefined) return { first: pageBytes / DESCRIPTOR_BYTES, others: Number.POSITIVE_INFINITY };
  return { first: most, others: most };
}

/** Descriptors that the list needs besides the one in the command, the links between its segments among them. */
export function sglDescriptors(
  segments: readonly Segment[],
  pageBytes: number,
  options: SglOptions | undefined,
): number {
  if (isInline(segments)) return 0;
  const { length } = segments;
  const { first, others } = segmentRoom(pageBytes, options);
  if (length <= first) return length;
  // Every segment but the last gives up one descriptor for its link.
  const links = others === Number.POSITIVE_INFINITY ? 1 : Math.ceil((length - first) / (others - 1));
  return length + links;
}

/** Descriptors there is room for in a slot's list pages. */
export function sglRoom(listPages: number, pageBytes: number): number {
  return (listPages * pageBytes) / DESCRIPTOR_BYTES;
}

/**
 * Writes the SGL: its first descriptor to `into`, at `slot`, and the others to the list, segment behind segment.
 * @param used descriptors of the list that are taken
 * @returns descriptors taken now
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
