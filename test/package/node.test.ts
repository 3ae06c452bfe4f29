/** The installed package on each supported Node: import, require, the command line, and a read from the emulated controller. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { run } from "../support/run.js";
import { nodeProgram, nodeVersions, oldestNode } from "./support/node-versions.js";
import { project, READS_A_BLOCK, runIn } from "./support/project.js";

const manifest: { engines: { node: string }; exports: Record<string, unknown>; bin: { iova: string } } =
  JSON.parse(readFileSync(join(inject("installed"), "node_modules", "iova", "package.json"), "utf8"));
const doors = Object.keys(manifest.exports)
  .filter((name) => name !== "./package.json" && name !== "./emulator-worker")
  .map((name) => (name === "." ? "iova" : `iova/${name.slice(2)}`));
const installedCli = join(inject("installed"), "node_modules", "iova", manifest.bin.iova);

const TYPED_DEVICE = `
import { type EmulatedDevice, initialConfigSpace } from "iova/emulator";
export default class Device implements EmulatedDevice {
  readonly name = "typed device";
  readonly configSpace: Uint8Array = initialConfigSpace({ vendorId: 1, deviceId: 2, hasPin: false });
  readonly vectors = { intx: 0, msi: 1, msix: 0 };
  readonly bars = [];
  order(_message: unknown): string { return this.name; }
  connect(): void {}
  disconnect(): void {}
  reset(): void {}
  close(): void {}
}
`;

/** Prints the name of the device in device.ts, or the error. */
const SERVES_DEVICE = `
import { startEmulator } from "iova/emulator";
const device = new URL("./device.ts", import.meta.url);
try {
  const emulator = await startEmulator({ socket: "./socket", device });
  console.log(await emulator.order({ kind: "device", message: 0 }));
  await emulator.close();
} catch (error) {
  console.log(error.name + ": " + error.message);
}
`;

test("the oldest Node that is tested is the oldest that engines allow", () => {
  expect(manifest.engines.node).toBe(`>=${oldestNode.replace(/\.0$/, "")}`);
});

describe.each(nodeVersions)("on Node %s", (version) => {
  let node = "";
  beforeAll(() => {
    node = nodeProgram(version);
  });

  test("import finds every entry point, and a name is the same object in each", async () => {
    const folder = project({
      "main.mjs": `const all = await Promise.all(${JSON.stringify(doors)}.map((door) => import(door)));
        const seen = new Map();
        for (const names of all) for (const [name, value] of Object.entries(names)) {
          if (seen.has(name) && seen.get(name) !== value) throw new Error(name + " is two things");
          seen.set(name, value);
        }
        console.log(all.every((names) => Object.keys(names).length > 0));`,
    });
    expect(await runIn(folder, node, "main.mjs")).toBe("true\n");
  });

  test("require() returns what import returns, where Node can require ES modules", async () => {
    const folder = project({
      "main.cjs": `const { IovaError, ArgumentError } = require("iova");
        import("iova").then((imported) => console.log(imported.IovaError === IovaError,
          new ArgumentError("x") instanceof Error));`,
    });
    if (version === oldestNode) {
      const { status, stderr } = await run("/usr/bin/env", ["-C", folder, node, "main.cjs"]);
      expect(status).toBe(1);
      expect(stderr).toContain("ERR_REQUIRE_ESM");
      return;
    }
    expect(await runIn(folder, node, "main.cjs")).toBe("true true\n");
  });

  test("a program reads a block of the emulated controller", async () => {
    expect(await runIn(project({ "main.mjs": READS_A_BLOCK }), node, "main.mjs")).toBe("read 512 bytes\n");
  });

  test("an error that a program doesn't catch is printed with a line of code that fits the screen", async () => {
    const folder = project({
      "main.mjs":
        'import { NvmeController } from "iova"; await NvmeController.open("vfio-user:/x", { completion: "?" });',
    });
    const { status, stderr } = await run("/usr/bin/env", ["-C", folder, node, "main.mjs"]);
    expect(status).toBe(1);
    expect(stderr).toContain("ConfigError: NVMe options: completion");
    expect(Math.max(...stderr.split("\n").map((line) => line.length))).toBeLessThan(500);
  });

  test("a device in TypeScript is served, or a sentence says what to do", async () => {
    const folder = project({ "device.ts": TYPED_DEVICE, "main.mjs": SERVES_DEVICE });
    if (Number.parseInt(version, 10) >= 22) {
      expect(await runIn(folder, node, "main.mjs")).toBe("typed device\n");
      return;
    }
    const sentence = `device.ts: Node.js ${version} can't load this TypeScript: use Node.js 22.18 or later, `;
    expect(await runIn(folder, node, "main.mjs")).toContain(`ConfigError: ${join(folder, sentence)}`);
    const args = ["emulate", "./device.ts", "--socket", "./socket"];
    const { status, stderr } = await run("/usr/bin/env", ["-C", folder, node, installedCli, ...args]);
    expect(status).toBe(2);
    expect(stderr).toContain(`iova: ./${sentence}`);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  // Node 20 loads no TypeScript, as the test before shows.
  if (Number.parseInt(version, 10) >= 22) {
    test("iova emulate says where the syntax error of a device in TypeScript is", async () => {
      const folder = project({
        "device.ts": "export default class {\n  value: number = 1;\n  enum X {}\n}\n",
      });
      const args = ["emulate", "./device.ts", "--socket", "./socket"];
      const { status, stderr } = await run("/usr/bin/env", ["-C", folder, node, installedCli, ...args]);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^iova: \.\/device\.ts: SyntaxError: .*, at device\.ts:3\n$/);
    });
  }

  test("the command line runs", async () => {
    expect(await runIn(project({}), node, installedCli, "help")).toContain("Usage: iova COMMAND");
    expect(await runIn(project({}), node, installedCli, "nvme", "--help")).toContain("Usage: iova nvme");
  });
});
