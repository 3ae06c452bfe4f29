/** Checksummed I/O through every kind of incident, in short: `npm run soak` does the same for hours. */
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { compileTree } from "../../../support/compiled.js";
import { growthOf, soak } from "../../../support/soak.js";

test("20,000 reads and writes through faults, resets and restarts of the server read what was written, and leave nothing open or mapped", {
  timeout: 600_000,
}, async () => {
  const main = "test/support/emulator-process-main.ts";
  const thread = "src/emulator/worker-main.ts";
  using tree = compileTree(main, thread);
  const programs = { main: tree.file(main), thread: pathToFileURL(tree.file(thread)) };
  const result = await soak({ ios: 20_000, seed: 1, iosPerIncident: 500, programs });
  expect(result.ios).toBeGreaterThanOrEqual(20_000);
  expect(result.compared).toBeGreaterThan(10_000);
  // Eight faults, two kinds of reset, and restarts.
  expect(Object.keys(result.incidents)).toHaveLength(11);
  // In so short a run, V8's own memory still grows.
  expect(growthOf(result.samples, ["descriptors", "mappedBytes"])).toEqual([]);
});
