/**
 * Physical Region Pages (NVMe Base 2.x, section "Physical Region Page Entry and List"), which describe a command's data.
 * Most buffers are contiguous in I/O virtual addresses, so the entries of a list differ by one page. Addresses are two
 * 32-bit halves, because bigints would be too slow here.
 */

import type { Segment } from "./data-ranges.js";

/** Bytes per PRP entry. */
const ENTRY_BYTES = 8;

/** List pages needed for any transfer of up to `maxBytes`, wherever in a page it starts. */
export function prpListPages(maxBytes: number, pageBytes: number): number {
  // PRP1 may cover as little as 4 bytes of the first page.
  const entries = Math.ceil((maxBytes - 4) / pageBytes);
  if (entries <= 1) return 0;
  const perPage = pageBytes / ENTRY_BYTES;
  // Every page but the last uses one entry for the link.
  return entries <= perPage ? 1 : 1 + Math.ceil((entries - perPage) / (perPage - 1));
}

/** List memory of one request, contiguous and page aligned. */
export interface PrpList {
  readonly words: Uint32Array;
  /** Index in `words` where this request's pages start. */
  readonly at: number;
  readonly iovaLow: number;
  readonly iovaHigh: number;
}

/** Word offsets of PRP1 and PRP2 in a submission queue entry. */
const PRP1 = 6;
const PRP2 = 8;

const TWO_32 = 2 ** 32;

/**
 * Writes PRP1, PRP2 and, if needed, the list for `length` bytes at an address.
 * @param sqe submission ring
 * @param slot first word of the entry
 * @param low low half of the address, a multiple of 4
 */
export function writePrps(
  sqe: Uint32Array,
  slot: number,
  low: number,
  high: number,
  length: number,
  pageBytes: number,
  list: PrpList,
): void {
  sqe[slot + PRP1] = low;
  sqe[slot + PRP1 + 1] = high;
  const inFirstPage = pageBytes - (low & (pageBytes - 1));
  if (length <= inFirstPage) {
    sqe[slot + PRP2] = 0;
    sqe[slot + PRP2 + 1] = 0;
    return;
  }
  low += inFirstPage;
  if (low >= TWO_32) {
    low -= TWO_32;
    high++;
  }
  let pages = Math.ceil((length - inFirstPage) / pageBytes);
  if (pages === 1) {
    sqe[slot + PRP2] = low;
    sqe[slot + PRP2 + 1] = high;
    return;
  }
  sqe[slot + PRP2] = list.iovaLow;
  sqe[slot + PRP2 + 1] = list.iovaHigh;
  const { words } = list;
  const wordsPerPage = pageBytes / 4;
  let at = list.at;
  let link = at + wordsPerPage - 2;
  let nextListLow = list.iovaLow;
  let nextListHigh = list.iovaHigh;
  for (; pages > 0; pages--) {
    if (at === link && pages > 1) {
      // The last entry of a full page is the address of the next list page.
      nextListLow += pageBytes;
      if (nextListLow >= TWO_32) {
        nextListLow -= TWO_32;
        nextListHigh++;
      }
      words[at] = nextListLow;
      words[at + 1] = nextListHigh;
      at += 2;
      link += wordsPerPage;
    }
    words[at] = low;
    words[at + 1] = high;
    at += 2;
    low += pageBytes;
    if (low >= TWO_32) {
      low -= TWO_32;
      high++;
    }
  }
}

/**
 * Whether PRPs can describe the segments: the first starts at a multiple of 4, all others at a memory page, and all but
 * the last end at a memory page.
 */
export function fitsPrps(segments: readonly Segment[], pageBytes: number): boolean {
  return segments.every(({ low, length, isBucket }, i) => {
    if (isBucket) return false;
    const start = low & (pageBytes - 1);
    if (i === 0 ? start % 4 !== 0 : start !== 0) return false;
    return i === segments.length - 1 || (start + length) % pageBytes === 0;
  });
}

/** Same as {@link writePrps}, for segments that {@link fitsPrps}. */
export function writeScatteredPrps(
  sqe: Uint32Array,
  slot: number,
  segments: readonly Segment[],
  pageBytes: number,
  list: PrpList,
): void {
  let entries = 0;
  for (const { low, length } of segments)
    entries += Math.ceil(((low & (pageBytes - 1)) + length) / pageBytes);
  sqe[slot + PRP2] = entries > 2 ? list.iovaLow : 0;
  sqe[slot + PRP2 + 1] = entries > 2 ? list.iovaHigh : 0;
  const wordsPerPage = pageBytes / 4;
  const { words } = list;
  let at = list.at;
  let link = at + wordsPerPage - 2;
  let done = 0;
  const add = (low: number, high: number): void => {
    if (done === 0) {
      sqe[slot + PRP1] = low;
      sqe[slot + PRP1 + 1] = high;
    } else if (entries === 2) {
      sqe[slot + PRP2] = low;
      sqe[slot + PRP2 + 1] = high;
    } else {
      if (at === link && done < entries - 1) {
        const next = list.iovaLow + (at + 2 - list.at) * 4;
        words[at] = next % TWO_32;
        words[at + 1] = list.iovaHigh + Math.floor(next / TWO_32);
        at += 2;
        link += wordsPerPage;
      }
      words[at] = low;
      words[at + 1] = high;
      at += 2;
    }
    done++;
  };
  for (const { low, high, length } of segments) {
    let start = low;
    for (let left = length; left > 0; ) {
      add(start % TWO_32, high + Math.floor(start / TWO_32));
      const count = Math.min(left, pageBytes - (start & (pageBytes - 1)));
      start += count;
      left -= count;
    }
  }
}
