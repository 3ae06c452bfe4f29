/** The place in the program where a buffer was created, for warnings. */
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

test("callSite() returns the calling function, and the last recorded place if very many calls come at once", () => {
  expect(firstPlace()).toContain("firstPlace");
  const limit = Error.stackTraceLimit;
  // The limit is for the whole process: calls beyond it get the last recorded place, with a note.
  const sites = Array.from({ length: 3000 }, secondPlace);
  expect(sites[0]).toContain("secondPlace");
  expect(sites[0]).not.toContain("one of many");
  const rationed = sites.filter((site) => site.includes("one of many"));
  expect(rationed.length).toBeGreaterThan(1000);
  for (const site of rationed) expect(site).toContain("secondPlace");
  expect(Error.stackTraceLimit).toBe(limit);
});
