import { expect, test } from "vitest";
import { callSite } from "../../../src/dma/call-site.js";

function made(): string {
  return callSite(made);
}

function firstPlace(): string {
  return made();
}

function secondPlace(): string {
  return made();
}

test("names whoever made a buffer; of very many made at once, the last place that was noted", () => {
  expect(firstPlace()).toContain("firstPlace");
  const limit = Error.stackTraceLimit;
  // The ration holds for the whole process: more than that in one go gets the last place noted, and says so.
  const sites = Array.from({ length: 3000 }, secondPlace);
  expect(sites[0]).toContain("secondPlace");
  expect(sites[0]).not.toContain("one of many");
  const rationed = sites.filter((site) => site.includes("one of many"));
  expect(rationed.length).toBeGreaterThan(1000);
  for (const site of rationed) expect(site).toContain("secondPlace");
  expect(Error.stackTraceLimit).toBe(limit);
});
