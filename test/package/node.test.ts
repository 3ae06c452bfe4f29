/** The installed package on each supported Node: import, require, the command line, and a read from the emulated controller. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { run } from "../support/run.js";
import { nodeProgram, nodeVersions } from "./support/node-versions.js";
import { project, READS_A_BLOCK, runIn } from "./support/project.js";

const manifest: { exports: Record<string, unknown>; bin: { iova: string } } = JSON.parse(
  readFileSync(join(inject("installed"), "node_modules", "iova", "package.json"), "utf8"),
);
const doors = Object.keys(manifest.exports)
  .filter((name) => name !== "./package.json" && name !== "./emulator-worker")
  .map((name) => (name === "." ? "iova" : `iova/${name.slice(2)}`));

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

  test("require() returns what import returns", async () => {
    const folder = project({
      "main.cjs": `const { IovaError, ArgumentError } = require("iova");
        import("iova").then((imported) => console.log(imported.IovaError === IovaError,
          new ArgumentError("x") instanceof Error));`,
    });
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

  test("the command line runs", async () => {
    const cli = join(inject("installed"), "node_modules", "iova", manifest.bin.iova);
    expect(await runIn(project({}), node, cli, "help")).toContain("Usage: iova COMMAND");
    expect(await runIn(project({}), node, cli, "nvme", "--help")).toContain("Usage: iova nvme");
  });
});
