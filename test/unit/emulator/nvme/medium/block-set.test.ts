/** Tests of sets of blocks. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { BlockSet } from "../../../../../src/emulator/nvme/medium/block-set.js";

const range = fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 120 }));

test("a set of blocks behaves as a set of numbers", () => {
  const step = fc.tuple(fc.boolean(), range);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), range, (steps, [first, blocks]) => {
      const set = new BlockSet();
      const plain = new Set<number>();
      for (const [adds, [from, count]] of steps) {
        if (adds) set.add(from, count);
        else set.delete(from, count);
        for (let block = from; block < from + count; block++) {
          if (adds) plain.add(block);
          else plain.delete(block);
        }
      }
      expect(set.size).toBe(plain.size);
      expect(set.hasAny(first, blocks)).toBe(
        [...plain].some((block) => block >= first && block < first + blocks),
      );
      set.delete(0, 2 ** 40);
      expect(set.size).toBe(0);
    }),
  );
});
