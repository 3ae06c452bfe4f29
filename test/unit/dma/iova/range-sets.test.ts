/** Sets of addresses. */
import { expect, test } from "vitest";
import { withoutRanges } from "../../../../src/dma/iova/range-sets.js";

const ranges = [
  { start: 10n, last: 19n },
  { start: 30n, last: 39n },
];

test.each([
  ["nothing, if nothing is taken away", [], ["10-19", "30-39"]],
  ["the beginning of a range", [{ start: 5n, last: 12n }], ["13-19", "30-39"]],
  ["the end of a range", [{ start: 15n, last: 25n }], ["10-14", "30-39"]],
  ["the middle of a range, which becomes two", [{ start: 12n, last: 13n }], ["10-11", "14-19", "30-39"]],
  ["the end of one range and the beginning of the next", [{ start: 19n, last: 30n }], ["10-18", "31-39"]],
  [
    "several parts of a range",
    [
      { start: 11n, last: 11n },
      { start: 13n, last: 39n },
    ],
    ["10-10", "12-12"],
  ],
  ["everything", [{ start: 0n, last: 2n ** 64n - 1n }], []],
])("withoutRanges() takes away %s", (_, holes, left) => {
  expect(withoutRanges(ranges, holes).map(({ start, last }) => `${start}-${last}`)).toEqual(left);
});
