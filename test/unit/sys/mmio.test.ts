/** Access to device registers, and the machine code that V8 makes of it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MappedMemory } from "../../../src/sys/memory.js";
import { readRegister, readRegister64, writeRegister, writeRegister64 } from "../../../src/sys/mmio.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { nodes } from "../../support/nodes.js";
import { run } from "../../support/run.js";

test("register functions read and write all 32 and 64 bits, with the low half first", () => {
  using memory = MappedMemory.anonymous(4096);
  const { words } = memory;
  writeRegister(words, 1, 0xffff_fffe);
  expect(readRegister(words, 1)).toBe(0xffff_fffe);
  writeRegister64(words, 2, 0x8000_0001_ffff_fff0n);
  expect([words[2], words[3]]).toEqual([0xffff_fff0, 0x8000_0001]);
  expect(readRegister64(words, 2)).toBe(0x8000_0001_ffff_fff0n);
});

/**
 * src/sys/mmio.ts relies on these properties, which ECMAScript doesn't guarantee. If a test fails on a new version of Node.js,
 * the module needs a new design.
 */
describe.each(nodes)("optimized register access by %s", (node) => {
  const programs = {
    code: "test/unit/fixtures/mmio-code.ts",
    polled: "test/unit/fixtures/mmio-polled.ts",
    // Of fullFence().
    fence: "test/unit/fixtures/mmio-fence.ts",
  };
  let tree: CompiledTree;
  beforeAll(() => {
    tree = compileTree(...Object.values(programs));
  });
  afterAll(() => tree[Symbol.dispose]());

  test("reads again in polling loops, and doesn't merge consecutive reads", async () => {
    const outcome = await run(node, ["--allow-natives-syntax", tree.file(programs.polled)]);
    expect(outcome).toEqual({ status: 0, signal: null, stdout: "all loops ended", stderr: "" });
  });

  test("never lets a load pass an earlier store where fullFence() stands between them", async () => {
    const outcome = await run(node, [tree.file(programs.fence)]);
    expect(outcome).toEqual({ status: 0, signal: null, stdout: "0\n", stderr: "" });
  });

  test("makes one access of each read, even if it is unused, and one plain store of each write, in order", async (context) => {
    if (process.arch !== "x64") context.skip("reads x86-64 machine code only");
    const { stdout } = await run(node, [
      "--allow-natives-syntax",
      "--print-opt-code",
      "--print-opt-code-filter=probe*",
      tree.file(programs.code),
    ]);
    const codeOf = (name: string): string =>
      stdout.split("--- Optimized code ---").find((code) => code.includes(`\nname = ${name}\n`)) ?? "";

    const reads = codeOf("probeReads");
    expect(reads.match(/\bcall\b.*\(AtomicsLoad\)/g)).toHaveLength(3);

    const writes = codeOf("probeWrites");
    const stores = writes.match(/\bmovl \[[^\]]+\],0x(11|22|33)\b/g) ?? [];
    expect(stores.map((store) => store.slice(-4))).toEqual(["0x11", "0x22", "0x33"]);
    expect(writes).not.toMatch(/\b(xchg|lock)/);
  });
});
