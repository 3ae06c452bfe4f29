/**
 * Checks what V8's optimizing compiler makes of polling, because ECMAScript doesn't promise what the rings rely on. If this
 * fails on a new version of Node, src/nvme/queues/completion-queue.ts needs to be reviewed.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CompiledTree, compileTree } from "../../../support/compiled.js";
import { nodes } from "../../../support/nodes.js";
import { run } from "../../../support/run.js";

const programs = {
  polled: "test/unit/fixtures/ring-polled.ts",
  code: "test/unit/fixtures/ring-code.ts",
  garbage: "test/unit/fixtures/ring-garbage.ts",
};
let tree: CompiledTree;
beforeAll(() => {
  tree = compileTree(...Object.values(programs));
});
afterAll(() => tree[Symbol.dispose]());

describe.each(nodes)("by %s", (node) => {
  test("polling sees each completion and what the controller wrote before its phase", async () => {
    const outcome = await run(node, ["--allow-natives-syntax", tree.file(programs.polled)]);
    expect(outcome).toEqual({ status: 0, signal: null, stdout: "all commands came back", stderr: "" });
  });

  test("polling reads the phase in each turn as a whole word, and a doorbell is one plain store", async (context) => {
    if (process.arch !== "x64") context.skip("reads x86-64 machine code only");
    const flags = ["--allow-natives-syntax", "--print-opt-code", "--print-opt-code-filter=probe*"];
    const { stdout } = await run(node, [...flags, tree.file(programs.code)]);
    const codeOf = (name: string): string[] =>
      (stdout.split("--- Optimized code ---").find((code) => code.includes(`\nname = ${name}\n`)) ?? "")
        .split("\n")
        .filter((line) => line.startsWith("0x"));

    const poll = codeOf("probePoll");
    const word = /\bmovl r\w+,\[[^\]]*\*4[^\]]*\]/;
    const reads = poll.flatMap((line, at) => (word.test(line) ? [at] : []));
    // Before the loop and in it: the phase, the same word again as part of the entry, and its three other words.
    expect(reads.length).toBeGreaterThanOrEqual(5);
    // A jump back over a read without a store to the rings: the empty turn.
    const addressOf = (line: string): number => Number(/^0x[0-9a-f]+/.exec(line)?.[0] ?? Number.NaN);
    const backward = poll.filter((line) => {
      const target = /\bj\w+ (0x[0-9a-f]+)/.exec(line)?.[1];
      if (target === undefined || Number(target) >= addressOf(line)) return false;
      return reads.some((at) => {
        const address = addressOf(poll[at] ?? "");
        return address >= Number(target) && address < addressOf(line);
      });
    });
    expect(backward).not.toEqual([]);
    expect(poll.join("\n")).not.toMatch(/\b(test|cmp|movzx|mov)[bw]\w* \[[^\]]*\*4[^\]]*\],/);
    expect(poll.join("\n")).not.toMatch(/\bcall\b.*\(Atomics/);

    const ring = codeOf("probeRing");
    expect(ring.filter((line) => /\bmovl \[/.test(line)).length).toBeGreaterThanOrEqual(1);
    expect(ring.join("\n")).not.toMatch(/\b(xchg|lock)/);
  });

  test("a million commands leave nothing for the garbage collector", async () => {
    const { status, stdout } = await run(node, ["--expose-gc", tree.file(programs.garbage)]);
    expect(status).toBe(0);
    const { commands, grown, collections } = JSON.parse(stdout);
    expect(collections).toBe(0);
    // V8 keeps some memory for measuring; one word for each command would be 8 MB.
    expect(grown / commands).toBeLessThan(0.05);
  });
});
