/** The budget of memory mappings: how many it grants, and when it counts those of the process. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { MappingBudget } from "../../../src/sys/mapping-budget.js";

const MAX = 65_530;
const RESERVE = 8191;

test("a budget grants mappings until the process's own reserve is all that is left", () => {
  let used = 1000;
  let counts = 0;
  const count = (): number => {
    counts++;
    return used;
  };
  const budget = new MappingBudget(MAX, count, () => 0);
  expect(budget.left()).toBe(MAX - RESERVE - 1000);
  while (budget.take()) used++;
  expect(used).toBeGreaterThan(MAX - RESERVE - 100);
  expect(used).toBeLessThanOrEqual(MAX - RESERVE);
  // It counts seldom, although others make mappings, too.
  expect(counts).toBeLessThan(100);
});

test("a budget stays within the limit where each mapping splits two others", () => {
  let used = 1000;
  const budget = new MappingBudget(
    MAX,
    () => used,
    () => 0,
  );
  while (budget.take()) used += 3;
  expect(used).toBeLessThanOrEqual(MAX - RESERVE);
});

test("a budget that has refused counts again only after a while", () => {
  let used = MAX;
  let now = 0;
  let counts = 0;
  const count = (): number => {
    counts++;
    return used;
  };
  const budget = new MappingBudget(MAX, count, () => now);
  expect([budget.left(), budget.take(), budget.take()]).toEqual([0, false, false]);
  expect(counts).toBe(2);
  used = 1000;
  expect(budget.take()).toBe(false);
  now = 1000;
  expect(budget.take()).toBe(true);
});

test("a budget leaves a small limit to the process alone", () => {
  const budget = new MappingBudget(
    4000,
    () => 100,
    () => 0,
  );
  expect([budget.left(), budget.take()]).toEqual([0, false]);
});

test("a budget counts the mappings of this process, and without /proc grants any number", () => {
  const max = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
  const left = new MappingBudget().left();
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(max);
  const blind = new MappingBudget(MAX, () => {
    throw new Error("no /proc");
  });
  expect([blind.left() > MAX, blind.take()]).toEqual([true, true]);
});
