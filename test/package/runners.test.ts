/** The installed package in test runners, whose contexts have globals of their own. */
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { project, runIn } from "./support/project.js";

const ROUND_TRIP = `
test("the package reads a block, and its errors are instances of Error", async () => {
  const folder = mkdtempSync(join(tmpdir(), "iova-package-"));
  const emulator = await startEmulator({ socket: join(folder, "nvme.sock"), device: "nvme", options: {} });
  const nvme = await NvmeController.open(emulator.address);
  const ns = await nvme.namespace(1);
  const buffer = nvme.dma.alloc(ns.blockSizeBytes);
  await ns.read(0n, buffer);
  const error = await ns.read(-1n, buffer).catch((thrown) => thrown);
  expect(error instanceof ArgumentError).toBe(true);
  expect(error instanceof Error).toBe(true);
  const refused = await startEmulator({ socket: join(folder, "2.sock"), device: "nvme", options: { sizeBytes: -1 } })
    .catch((thrown) => thrown);
  expect(refused instanceof Error).toBe(true);
  buffer.close();
  await nvme.close();
  await emulator.close();
  rmSync(folder, { recursive: true });
});
`;
const IMPORTS = `
import { ArgumentError, NvmeController } from "iova";
import { startEmulator } from "iova/emulator";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
`;

test.each(["forks", "threads", "vmThreads", "vmForks"])(
  "the package works in vitest's pool %s",
  async (pool) => {
    const folder = project({
      "package.json": '{ "type": "module" }',
      "iova.test.js": `import { expect, test } from "vitest";${IMPORTS}${ROUND_TRIP}`,
      "vitest.config.js": `export default { test: { pool: "${pool}", testTimeout: 600_000 } };`,
    });
    const vitest = join(inject("installed"), "node_modules", "vitest", "vitest.mjs");
    expect(await runIn(folder, process.execPath, vitest, "run", "--root", folder)).toMatch(/1 passed/);
  },
);

test("the package works in jest with ES modules", async () => {
  const folder = project({
    "package.json":
      '{ "type": "module", "jest": { "transform": {}, "testEnvironment": "node", "testTimeout": 600000 } }',
    "iova.test.js": `${IMPORTS}${ROUND_TRIP}`,
  });
  const jest = join(inject("installed"), "node_modules", "jest", "bin", "jest.js");
  const args = ["--experimental-vm-modules", jest, "--rootDir", folder, "--forceExit"];
  await runIn(folder, process.execPath, ...args);
});
