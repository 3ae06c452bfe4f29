/** Sets of addresses as lists of ranges, both ends included. */
import { type IovaRange, iova } from "./address.js";

type Ranges = readonly { readonly start: bigint; readonly last: bigint }[];

/** `ranges` without the addresses of `holes`. */
export function withoutRanges(ranges: Ranges, holes: Ranges): IovaRange[] {
  let left = ranges.map(({ start, last }) => ({ start, last }));
  for (const hole of holes) {
    left = left.flatMap(({ start, last }) => {
      if (hole.last < start || hole.start > last) return [{ start, last }];
      const before = hole.start > start ? [{ start, last: hole.start - 1n }] : [];
      return hole.last < last ? [...before, { start: hole.last + 1n, last }] : before;
    });
  }
  return left.map(({ start, last }) => ({ start: iova(start), last: iova(last) }));
}
