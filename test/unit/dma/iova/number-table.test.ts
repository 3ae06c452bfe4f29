/** The allocator's data structures: NumberTable, PageSet and SizeBins. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { NumberTable } from "../../../../src/dma/iova/number-table.js";
import { PageSet } from "../../../../src/dma/iova/page-set.js";
import { binOf, SizeBins } from "../../../../src/dma/iova/size-bins.js";

/** Few keys, so that they collide: close together, powers of two apart, and as large as page numbers get. */
const key = fc.oneof(
  fc.nat(40),
  fc.nat(30).map((n) => n * 512),
  fc.nat(30).map((n) => n * 2 ** 33 + 7),
  fc.nat(5).map((n) => 2 ** 52 - 1 - n),
);
const change = fc.record({ key, value: fc.integer({ min: -5, max: 5 }) });

test("a NumberTable has the same content as a Map", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 400 }), (changes) => {
      const table = new NumberTable();
      const model = new Map<number, number>();
      for (const { key: at, value } of changes) {
        if (value === 0) {
          table.delete(at);
          model.delete(at);
        } else {
          table.set(at, value);
          model.set(at, value);
        }
        expect(table.get(at)).toBe(model.get(at) ?? 0);
      }
      expect(table.size).toBe(model.size);
      const held = new Map<number, number>();
      table.forEach((at, value) => {
        held.set(at, value);
      });
      expect(held).toEqual(model);
      expect(table.get(-1)).toBe(0);
      for (const [at, value] of model) expect(table.get(at)).toBe(value);
    }),
  );
});

test("PageSet.floor() finds the last page that is not after a given one", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 100 }), fc.array(key), (changes, questions) => {
      const set = new PageSet();
      const model = new Set<number>();
      for (const { key: at, value } of changes) {
        if (value <= 0 && model.has(at)) {
          set.delete(at);
          model.delete(at);
        } else if (value > 0) {
          set.add(at);
          model.add(at);
        }
      }
      for (const asked of questions) {
        expect(set.floor(asked)).toBe(Math.max(-1, ...[...model].filter((at) => at <= asked)));
      }
    }),
  );
});

test("binOf() returns bins in the order of sizes, each with sizes that differ by less than 1/16", () => {
  let before = -1;
  for (let size = 1; size <= 2 ** 52; size = Math.ceil(size * 1.01)) {
    const bin = binOf(size);
    expect(bin).toBeGreaterThanOrEqual(before);
    if (size < 256) expect(bin).toBe(size);
    else expect(binOf(Math.ceil(size * (1 + 1 / 16)))).toBeGreaterThan(bin);
    before = bin;
  }
  for (let power = 8; power <= 52; power++) {
    expect(binOf(2 ** power)).toBe(binOf(2 ** power - 1) + 1);
  }
});

test("a NumberTable keeps the note of a key when it moves the key", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 400 }), (changes) => {
      const table = new NumberTable();
      const model = new Map<number, number>();
      for (const [i, { key: at, value }] of changes.entries()) {
        if (value === 0) {
          table.delete(at);
          model.delete(at);
        } else {
          table.set(at, value);
          table.setNote(at, i);
          model.set(at, i);
        }
      }
      for (const [at, note] of model) expect(table.note(at)).toBe(note);
    }),
  );
});

test("SizeBins.next() finds the first bin that isn't empty, whatever was removed before", () => {
  const bins = new SizeBins();
  for (const bin of [0, 31, 32, 500, binOf(2 ** 52)]) expect(bins.push(bin, 1)).toBe(0);
  expect([0, 1, 32, 33, 501].map((bin) => bins.next(bin))).toEqual([0, 31, 32, 500, binOf(2 ** 52)]);
  expect(bins.remove(32, 0)).toBe(-1);
  expect(bins.remove(500, 0)).toBe(-1);
  expect(bins.next(32)).toBe(binOf(2 ** 52));
  expect(bins.next(binOf(2 ** 52) + 1)).toBe(-1);
});

test("SizeBins.remove() moves the last entry of a bin to the slot of the removed one", () => {
  const bins = new SizeBins();
  expect([11, 12, 13].map((start) => bins.push(7, start))).toEqual([0, 1, 2]);
  expect(bins.remove(7, 0)).toBe(13);
  expect(bins.stack(7)).toEqual([13, 12]);
  expect(bins.remove(7, 1)).toBe(-1);
  expect(bins.remove(7, 0)).toBe(-1);
  expect(bins.next(0)).toBe(-1);
});
