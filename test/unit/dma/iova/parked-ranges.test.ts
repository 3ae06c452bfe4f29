/** ParkedRanges: released ranges that are kept for the next allocation of the same size. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { iova } from "../../../../src/dma/iova/address.js";
import { IovaAllocator } from "../../../../src/dma/iova/allocator.js";
import { ParkedRanges } from "../../../../src/dma/iova/parked-ranges.js";

const PAGE = 4096;
const PAGES = 300;
const usable = [{ start: iova(0n), last: iova(BigInt(PAGES * PAGE) - 1n) }];

test("ParkedRanges returns the range parked last, and only for its size", () => {
  const parked = new ParkedRanges();
  const given: number[][] = [];
  const giveBack = (page: number, sizeBytes: number): void => void given.push([page, sizeBytes]);
  expect(parked.take(PAGE)).toBe(-1);
  parked.park(7, PAGE, giveBack);
  parked.park(9, PAGE, giveBack);
  expect(parked.take(2 * PAGE)).toBe(-1);
  expect(parked.take(PAGE)).toBe(9);
  parked.park(20, 2 * PAGE, giveBack);
  expect(given).toEqual([[7, PAGE]]);
  expect(parked.take(PAGE)).toBe(-1);
  parked.drain(giveBack);
  expect(given).toEqual([
    [7, PAGE],
    [20, 2 * PAGE],
  ]);
  parked.drain(giveBack);
  expect(given).toHaveLength(2);
});

test("ParkedRanges gives its oldest ranges back, neighbours at once, when it has no room", () => {
  const parked = new ParkedRanges();
  const given: number[][] = [];
  const giveBack = (page: number, sizeBytes: number, count: number): void =>
    void given.push([page, sizeBytes, count]);
  // Ascending but for the first two, and with a gap.
  for (const page of [2, 1, ...Array.from({ length: 63 }, (_, i) => (i < 10 ? 3 + i : 4 + i))]) {
    parked.park(page, PAGE, giveBack);
  }
  expect(given).toEqual([
    [1, PAGE, 12],
    [14, PAGE, 20],
  ]);
  parked.drain(giveBack);
  expect(given.slice(2)).toEqual([[34, PAGE, 33]]);
});

test("ParkedRanges fetches ever more ranges of a size, the lowest first, and one after another size", () => {
  const parked = new ParkedRanges();
  const asked: number[] = [];
  let next = 1;
  const fetch = (_: number, into: Float64Array, most: number): number => {
    asked.push(most);
    for (let i = 0; i < most; i++) into[i] = next++;
    return most;
  };
  const take = (sizeBytes: number): number => {
    const page = parked.take(sizeBytes);
    return page < 0 ? parked.refill(sizeBytes, fetch, () => {}) : page;
  };
  expect(Array.from({ length: 200 }, () => take(PAGE))).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  expect(asked).toEqual([1, 2, 4, 8, 16, 32, 32, 32, 32, 32, 32]);
  take(2 * PAGE);
  take(PAGE);
  expect(asked.slice(-2)).toEqual([1, 1]);
});

test("ParkedRanges before an allocator returns nothing twice and loses nothing", () => {
  const step = fc.record({ take: fc.boolean(), pages: fc.integer({ min: 1, max: 3 }), which: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const allocator = new IovaAllocator(usable, PAGE);
      const free = allocator.freeBytes;
      const giveBack = (page: number, sizeBytes: number, count: number): void =>
        allocator.releaseSideBySide(page, sizeBytes, count);
      const fetch = (sizeBytes: number, into: Float64Array, most: number): number =>
        allocator.allocSideBySide(sizeBytes, into, most);
      const parked = new ParkedRanges();
      const live: { page: number; pages: number }[] = [];
      const taken = new Set<number>();
      for (const { take, pages, which } of steps) {
        const last = live[which % Math.max(1, live.length)];
        if (take && taken.size + pages < PAGES / 3) {
          let page = parked.take(pages * PAGE);
          if (page < 0) page = parked.refill(pages * PAGE, fetch, giveBack);
          for (let i = page; i < page + pages; i++) {
            expect(taken.has(i)).toBe(false);
            taken.add(i);
          }
          live.push({ page, pages });
        } else if (last !== undefined) {
          live.splice(live.indexOf(last), 1);
          for (let i = last.page; i < last.page + last.pages; i++) taken.delete(i);
          parked.park(last.page, last.pages * PAGE, giveBack);
        }
      }
      for (const { page, pages } of live) allocator.releasePages(page, pages * PAGE);
      parked.drain(giveBack);
      expect(allocator.freeBytes).toBe(free);
      expect(allocator.stats().freeRanges).toBe(1);
    }),
  );
});
