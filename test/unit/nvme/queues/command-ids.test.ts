import { expect, test } from "vitest";
import { ArgumentError } from "../../../../src/index.js";
import { CommandIds } from "../../../../src/nvme/queues/command-ids.js";

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
