/** The examples of examples/nvme-testing/, each as a process, on the embedded controller. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import type { CompiledTree } from "../../support/compiled.js";
import { compilePackage } from "../../support/compiled-package.js";
import { emulate } from "../../support/emulators.js";
import { run } from "../../support/run.js";

const folder = "examples/nvme-testing";
const examples = readdirSync(join(packageRoot(), folder))
  .filter((name) => /^\d\d-/.test(name))
  .sort();
let tree: CompiledTree;
beforeAll(() => {
  tree = compilePackage(...examples.map((name) => `${folder}/${name}`));
});
afterAll(() => tree[Symbol.dispose]());

describe("the example", () => {
  test.each(examples)("%s finds what it claims on the controller that it starts", async (name) => {
    const { status, stdout, stderr } = await run(process.execPath, [tree.file(`${folder}/${name}`)]);
    expect(stderr).toBe("");
    expect(stdout).toContain("  holds ");
    expect(stdout.match(/^ {2}BROKEN .*$/gm)?.join("\n")).toBeUndefined();
    expect(status).toBe(0);
  });
});

test("an example takes the controller of its command line, and ends with status 1 if a claim doesn't hold", async () => {
  const fault = { kind: "status", queue: "admin", opcode: 0x06, status: 0x006 } as const;
  const emulator = await emulate({ device: "nvme", options: { sizeBytes: 1 << 20, faults: [fault] } });
  try {
    const program = tree.file(`${folder}/04-submission-queue-entry.ts`);
    const { status, stdout } = await run(process.execPath, [program, emulator.address]);
    expect(stdout).toContain("  BROKEN command id 0 comes back");
    expect(status).toBe(1);
  } finally {
    await emulator.close();
  }
});
