import { expect, test } from "vitest";
import { ArgumentError } from "../../../../src/index.js";
import { CommandIds } from "../../../../src/nvme/queues/command-ids.js";
import { Slots } from "../../../../src/nvme/queues/slots.js";

test("each identifier is given out once, until it is given back", () => {
  const ids = new CommandIds(3);
  expect([ids.take(), ids.take(), ids.take(), ids.take()]).toEqual([0, 1, 2, -1]);
  expect([ids.give(1), ids.give(1), ids.give(3)]).toEqual([true, false, false]);
  expect([ids.available, ids.outstanding, ids.take()]).toEqual([1, 2, 1]);
});

test.each([0, -1, 1.5, 65_536, 2 ** 63, Number.NaN, "3", null])(
  "a queue can't have %s identifiers",
  (count) => {
    expect(() => Reflect.construct(CommandIds, [count])).toThrow(ArgumentError);
  },
);

test("a queue has at most 65,535 identifiers", () => {
  expect(new CommandIds(65_535).available).toBe(65_535);
});

/** No command here has a list. */
const noList = () => ({ words: new Uint32Array(0), at: 0, iovaLow: 0, iovaHigh: 0 });

test.each([
  [3, 32],
  [65_503, 32],
])("%i slots without a count of uses have the ids from %i on, each use the same", (count, firstId) => {
  const slots = new Slots(count, noList, firstId);
  for (let round = 0; round < 2; round++) {
    const ids = Array.from({ length: count }, () => slots.take()?.cid ?? -1).sort((a, b) => a - b);
    expect(new Set(ids).size).toBe(count);
    expect([ids[0], ids.at(-1), slots.available]).toEqual([firstId, firstId + count - 1, 0]);
    expect([slots.find(firstId)?.index, slots.find(firstId + count - 1)?.index]).toEqual([0, count - 1]);
    for (const other of [0, firstId - 1, firstId + count]) expect(slots.find(other)).toBeUndefined();
    for (const slot of slots.all) {
      slots.give(slot.cid);
      slot.cid = -1;
    }
    expect(slots.available).toBe(count);
  }
});
