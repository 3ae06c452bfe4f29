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

test("ParkedRanges gives ranges back at once when it has no room", () => {
  const parked = new ParkedRanges();
  const given: number[] = [];
  for (let page = 1; page <= 100; page++) parked.park(page, PAGE, (at) => void given.push(at));
  expect(given).toEqual(Array.from({ length: 36 }, (_, i) => 65 + i));
});

test("ParkedRanges before an allocator returns nothing twice and loses nothing", () => {
  const step = fc.record({ take: fc.boolean(), pages: fc.integer({ min: 1, max: 3 }), which: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const allocator = new IovaAllocator(usable, PAGE);
      const free = allocator.freeBytes;
      const giveBack = (page: number, sizeBytes: number): void => allocator.releasePages(page, sizeBytes);
      const parked = new ParkedRanges();
      const live: { page: number; pages: number }[] = [];
      const taken = new Set<number>();
      for (const { take, pages, which } of steps) {
        const last = live[which % Math.max(1, live.length)];
        if (take && taken.size + pages < PAGES / 3) {
          let page = parked.take(pages * PAGE);
          if (page < 0) {
            parked.drain(giveBack);
            page = allocator.allocPages(pages * PAGE);
          }
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
