/** `iova new-driver` as a process: what it writes, and what it refuses without writing anything. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { compileCli } from "../../support/iova-cli.js";
import { run } from "../../support/run.js";

const cli = compileCli();
afterAll(() => cli[Symbol.dispose]());

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-new-driver-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const IDS = ["--vendor", "0x1234", "--device", "0x11e8"];
const files = [
  ".gitignore",
  "README.md",
  "package.json",
  "src/driver.ts",
  "src/main.ts",
  "src/registers.ts",
  "test/driver.test.ts",
  "test/model.ts",
  "tsconfig.json",
];

/** The files below a folder, sorted. */
function filesIn(path: string): string[] {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort();
}

const textOf = (...path: string[]): string => readFileSync(join(folder, ...path), "utf8");

/** Runs the command in the temporary folder. */
const newDriver = (...args: string[]) =>
  run("/usr/bin/env", ["-C", folder, process.execPath, cli.path, "new-driver", ...args]);

/** What registers.ts of a package says of its IDs. */
async function idsOf(name: string, vendor: string, device: string): Promise<string[]> {
  expect(await newDriver(name, "--vendor", vendor, "--device", device)).toMatchObject({ status: 0 });
  return textOf(name, "src/registers.ts").match(/(?<=_ID = )0x[0-9a-f]{4}(?=;)/g) ?? [];
}

describe("iova new-driver", () => {
  test("writes a package with the name and the IDs, and says what comes next", async () => {
    const { status, stdout, stderr } = await newDriver("my-nic", ...IDS);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^my-nic, a driver for 0x1234:0x11e8, is in my-nic: package\.json, /);
    expect(stdout).toMatch(/\nNext: cd my-nic && npm install && npm test\n$/);
    expect(filesIn(join(folder, "my-nic"))).toEqual(files);
    expect(textOf("my-nic/src/driver.ts")).toContain("export class MyNicDriver implements Disposable {");
    expect(textOf("my-nic/test/model.ts")).toContain("export default class MyNicModel");
    expect(textOf("my-nic/src/registers.ts")).toContain(
      "VENDOR_ID = 0x1234;\nexport const DEVICE_ID = 0x11e8;",
    );
    expect(textOf("my-nic/README.md")).toMatch(/^# my-nic\n\n.* 0x1234:0x11e8/);
    expect(JSON.parse(textOf("my-nic/package.json"))).toMatchObject({ name: "my-nic" });
    for (const file of files) expect(textOf("my-nic", file)).not.toMatch(/template|0xfff/i);
  });

  test("takes hex digits without 0x, scopes, and an empty folder by --dir", async () => {
    mkdirSync(join(folder, "empty"));
    const args = ["@acme/9p.x_y", "--vendor=8086", "--device", "10c9", "--dir", "empty"];
    expect(await newDriver(...args)).toMatchObject({ status: 0, stderr: "" });
    expect(filesIn(join(folder, "empty"))).toEqual(files);
    expect(textOf("empty/src/driver.ts")).toContain("class Pci9pXYDriver ");
    expect(textOf("empty/src/registers.ts")).toContain('registerBlock("9p.x_y"');
    expect(textOf("empty/src/registers.ts")).toContain(
      "VENDOR_ID = 0x8086;\nexport const DEVICE_ID = 0x10c9;",
    );
    expect(JSON.parse(textOf("empty/package.json"))).toMatchObject({ name: "@acme/9p.x_y" });
  });

  test("takes IDs as lspci prints them: digits alone are hexadecimal, too", async () => {
    expect(await idsOf("a", "1234", "0011")).toEqual(["0x1234", "0x0011"]);
    expect(await idsOf("b", "0X1AF4", "FFFF")).toEqual(["0x1af4", "0xffff"]);
    expect(await idsOf("c", "0x000008086", "0")).toEqual(["0x8086", "0x0000"]);
  });

  test("makes the folders above the new one, and names a scoped package's folder without the scope", async () => {
    expect(await newDriver("deep", ...IDS, "--dir", "a/b/c")).toMatchObject({ status: 0 });
    expect(filesIn(join(folder, "a/b/c"))).toEqual(files);
    const { stdout } = await newDriver("@acme/nic", ...IDS);
    expect(stdout).toContain("cd nic && ");
    expect(filesIn(join(folder, "nic"))).toEqual(files);
  });

  test("depends on this package where it is, and on what this package is built with", async () => {
    await newDriver("nic", ...IDS);
    const { dependencies, devDependencies } = JSON.parse(textOf("nic/package.json"));
    expect(dependencies.iova).toMatch(/^file:/);
    const { devDependencies: own } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
    expect(devDependencies["@types/node"]).toBe(own["@types/node"]);
    expect(devDependencies.typescript).toBe(`^${own.typescript}`);
  });

  test.each([
    [[...IDS], "new-driver needs a NAME"],
    [["a", "b", ...IDS], "new-driver takes one NAME, got a b"],
    [["a", "--vendor", "1"], "new-driver needs --device ID"],
    [["a", "--device", "1"], "new-driver needs --vendor ID"],
    [["a", "--vendor", "0x10000", "--device", "1"], '--vendor "0x10000" has more than 16 bits: write one to'],
    [
      ["a", "--vendor", "1", "--device", "65535"],
      '--device "65535" has more than 16 bits: write one to four hex',
    ],
    [["a", "--vendor", "0xffff", "--device", "1"], "--vendor 0xffff: no device has this ID"],
    [["a", "--vendor", "ffff", "--device", "1"], "--vendor 0xffff: no device has this ID"],
    [["a", "--vendor", "1", "--device", "-1"], "--device"],
    [["a", "--vendor", "1", "--device=-1"], '--device "-1" isn\'t hexadecimal: write one to four hex digits'],
    [["a", "--vendor", "1.5", "--device", "1"], '--vendor "1.5" isn\'t hexadecimal'],
    [["a", "--vendor", "8086:10c9", "--device", "1"], '--vendor "8086:10c9" isn\'t hexadecimal'],
    [["a", "--vendor", "0x", "--device", "1"], '--vendor "0x" isn\'t hexadecimal'],
    [["a", "--vendor", "", "--device", "1"], '--vendor "" isn\'t hexadecimal'],
    [["a", ...IDS, "--dir", ""], "--dir needs a path"],
    [["a", ...IDS, "--colour"], "Unknown option '--colour'"],
    [["Foo", ...IDS], '"Foo" can\'t be the name of an npm package'],
    [["../a", ...IDS], '"../a" can\'t be the name'],
    [["a/b", ...IDS], '"a/b" can\'t be the name'],
    [["@a/", ...IDS], '"@a/" can\'t be the name'],
    [[".a", ...IDS], '".a" can\'t be the name'],
    [["a b", ...IDS], '"a b" can\'t be the name'],
    [["", ...IDS], '"" can\'t be the name'],
    [["a".repeat(215), ...IDS], "the name has 215 characters, and npm takes at most 214"],
    [["http", ...IDS], 'npm reserves the name "http"'],
    [["node_modules", ...IDS], 'npm reserves the name "node_modules"'],
    [["iova", ...IDS], 'the new package depends on "iova"'],
  ])("refuses %j with status 2 in one line, and writes nothing", async (args, words) => {
    const { status, stdout, stderr } = await newDriver(...args);
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^iova: .*; see iova new-driver --help\n$/);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("leaves a folder alone that has something in it", async () => {
    mkdirSync(join(folder, "nic"));
    writeFileSync(join(folder, "nic", ".hidden"), "mine");
    const { status, stderr } = await newDriver("nic", ...IDS);
    expect(status).toBe(1);
    expect(stderr).toBe(
      `iova: ${join(folder, "nic")} isn't empty, it has .hidden: choose another folder by --dir, or empty this one\n`,
    );
    expect(filesIn(join(folder, "nic"))).toEqual([".hidden"]);
    expect(textOf("nic/.hidden")).toBe("mine");
  });

  test("refuses a file in place of the folder, or of one above it", async () => {
    writeFileSync(join(folder, "nic"), "mine");
    for (const dir of ["nic", "nic/below"]) {
      const { status, stderr } = await newDriver("nic", ...IDS, "--dir", dir);
      expect({ status, stderr }).toMatchObject({ status: 1 });
      expect(stderr).toContain("it, or a part of its path, is a file");
    }
    expect(textOf("nic")).toBe("mine");
  });

  test.each([["new/folder"], ["empty"]])("leaves nothing behind where writing to %s fails", async (dir) => {
    mkdirSync(join(folder, "empty"));
    const before = readdirSync(folder, { recursive: true });
    // No file of this process may be longer than 1500 bytes.
    const { status, stderr } = await run("prlimit", [
      "--fsize=1500",
      process.execPath,
      cli.path,
      "new-driver",
      "nic",
      ...IDS,
      "--dir",
      join(folder, dir),
    ]);
    expect(stderr).toContain(`the package can't be written to ${join(folder, dir)}: EFBIG`);
    expect(status).toBe(1);
    expect(readdirSync(folder, { recursive: true })).toEqual(before);
    expect(existsSync(join(folder, "empty"))).toBe(true);
  });
});
