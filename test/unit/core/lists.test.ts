/** Functions for lists of any length, and a check that the sources use them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { table } from "../../../src/cli/table.js";
import { append, largestOf, smallestOf } from "../../../src/core/lists.js";

const MANY = 500_000;

test("append(), largestOf() and smallestOf() accept lists that are too long for the arguments of a call", () => {
  const many = Array.from({ length: MANY }, (_, i) => i);
  expect(() => Math.max(...many)).toThrow(RangeError);
  const list = [7];
  append(list, many);
  expect([list.length, list[0], list.at(-1)]).toEqual([MANY + 1, 7, MANY - 1]);
  expect([largestOf(many), smallestOf(many)]).toEqual([MANY - 1, 0]);
});

test("largestOf() returns at least its second argument, and -Infinity for an empty list", () => {
  expect([largestOf([1, 2], 5), largestOf([1, 9], 5), largestOf([])]).toEqual([
    5,
    9,
    Number.NEGATIVE_INFINITY,
  ]);
  expect(smallestOf([])).toBe(Number.POSITIVE_INFINITY);
});

test("the CLI prints tables whose rows are too many for the arguments of a call", () => {
  const rows = Array.from({ length: MANY }, (_, i) => [String(i), "x"]);
  expect(table(["zone", "state"], rows).split("\n")).toHaveLength(MANY + 2);
});

test("no file in src/ spreads a list into push, unshift, splice, Math.max or Math.min", () => {
  const source = join(packageRoot(), "src");
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  const found = files.filter((file) =>
    /\b(push|unshift|splice|max|min)\(([^(){}[\]]*, )?\.\.\./.test(readFileSync(join(source, file), "utf8")),
  );
  expect(found).toEqual([]);
});
