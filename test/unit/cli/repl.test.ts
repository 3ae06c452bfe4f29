/** `iova repl` as a process, on an emulated edu: programs from standard input, and the prompt on a terminal. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunningEmulator } from "../../../src/emulator/worker.js";
import { compileTree } from "../../support/compiled.js";
import { emulate } from "../../support/emulators.js";
import { type InputOutcome, runWithInput } from "../../support/run.js";

const tree = compileTree("src/cli/main.ts", "test/unit/fixtures/edu-registers.ts");
const cli = tree.file("src/cli/main.ts");
const registers = tree.file("test/unit/fixtures/edu-registers.ts");
let edu: RunningEmulator;

beforeAll(async () => {
  edu = await emulate({ device: "edu", options: {} });
});
afterAll(async () => {
  await edu.close();
  tree[Symbol.dispose]();
});

const repl = (program: string, ...args: string[]): Promise<InputOutcome> =>
  runWithInput(process.execPath, [cli, "repl", ...args], program);

/** Types lines on a terminal, which `script` makes. */
const onTerminal = (lines: readonly string[], ...args: string[]): Promise<InputOutcome> => {
  const command = [process.execPath, cli, "repl", ...args].map((word) => `'${word}'`).join(" ");
  return runWithInput("script", ["-qec", command, "/dev/null"], `${lines.join("\n")}\n`);
};

test("a program reads and writes registers by offset and by name", async () => {
  const program = `
    print(peek(0, 0));
    poke(0, 4, 0x12345678);
    print(peek(0, 4));
    print(regs.edu);
    regs.edu.liveness.write(~5);
    print(regs.edu.liveness);
    print(peek("config", 2, 16));
    print(hexdump(0, 0, 8));
    print(config.readBytes(0, new Uint8Array(4)));`;
  expect(await repl(program, edu.address, "--registers", registers)).toMatchObject({
    status: 0,
    stdout: [
      "16777453 (0x10000ed)",
      "3989547399 (0xedcba987)",
      "identification: 0x010000ed  major=1  minor=0",
      "liveness: 0xedcba987",
      "liveness: 0x00000005",
      "4584 (0x11e8)",
      "000000: 010000ed 00000005",
      "undefined",
      "",
    ].join("\n"),
    stderr: "",
  });
});

test("interrupts are printed as they come, once the device may send them", async () => {
  const program = `
    const write = process.stdout.write;
    const came = new Promise((resolve) => {
      process.stdout.write = function (text, ...more) {
        if (text.includes("vector 0")) resolve();
        return write.call(this, text, ...more);
      };
    });
    print(interrupts(1));
    config.busMaster = true;
    poke(0, 0x60, 1);
    await came;
    poke(0, 0x64, 1);
    print(interrupts(0));`;
  const { status, stdout } = await repl(program, edu.address);
  expect(status).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "1 of msi; the device sends none until config.busMaster = true",
    "interrupt on vector 0",
    "interrupts are off",
    "",
  ]);
});

test("a program that fails ends with status 1, and the error says where", async () => {
  expect(await repl("\npeek(7, 0)", edu.address)).toMatchObject({
    status: 1,
    stderr: "iova: ArgumentError: BAR index must be a whole number from 0 to 5, got 7 (standard input:2:1)\n",
  });
  expect(await repl("peek(0, 0, 24)", edu.address)).toMatchObject({
    status: 1,
    stderr: "iova: ArgumentError: bits must be one of 8, 16, 32, 64, got 24 (standard input:1:1)\n",
  });
  expect(await repl("peek(0,", edu.address)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^iova: SyntaxError: /),
  });
  expect((await repl("null.x", edu.address)).status).toBe(1);
});

test("a program with a command of the prompt is refused before it runs", async () => {
  const { status, stdout, stderr } = await repl("print(1)\n.names\n", edu.address);
  expect([status, stdout]).toEqual([1, ""]);
  expect(stderr).toMatch(/^iova: \.names works only at the prompt of a terminal/);
});

test("the command line is checked before the device is opened", async () => {
  for (const [args, problem] of [
    [[], "repl takes one BDF or vfio-user:PATH"],
    [["vfio-user:/nowhere", "--bar", "6"], "--bar 6: expected a number from 0 to 5"],
    [["vfio-user:/nowhere", "--backend", "x"], "--backend x: expected one of "],
    [["vfio-user:/nowhere", "--registres", "x"], "Unknown option '--registres'"],
  ] as const) {
    const { status, stderr } = await repl("", ...args);
    expect([status, stderr]).toEqual([2, expect.stringContaining(problem)]);
  }
  const missing = await repl("", edu.address, "--registers", "/nowhere.js");
  expect([missing.status, missing.stderr]).toEqual([2, expect.stringContaining("--registers /nowhere.js: ")]);
  expect(missing.stderr).toContain(
    "there is no file /nowhere.js: correct the path, or compile its TypeScript",
  );
  const empty = await repl("", edu.address, "--registers", tree.file("src/core/errors.ts"));
  expect([empty.status, empty.stderr]).toEqual([2, expect.stringContaining("exports no block of registers")]);
});

test("the prompt on a terminal shows values, goes on after an error, and closes the device", async () => {
  const lines = ["peek(0, 0)", "regs.edu.identification", "peek(9)", ".names", "interrupts(1)", ".exit"];
  const { status, stdout } = await onTerminal(lines, edu.address, "--registers", registers);
  expect(status).toBe(0);
  expect(stdout).toContain(`${edu.address}, 1234:11e8, through vfio-user`);
  expect(stdout).toContain("(0x10000ed)");
  expect(stdout).toContain("identification: 0x010000ed  major=1  minor=0");
  expect(stdout).toContain("BAR index must be a whole number from 0 to 5, got 9");
  expect(stdout).toContain("the open PciDevice");
  expect(stdout).toContain("1 of msi");
  // The device is free again.
  expect((await repl("print(peek(0, 0))", edu.address)).status).toBe(0);
});
