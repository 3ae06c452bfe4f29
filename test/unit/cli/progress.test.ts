/** The progress line, on a terminal and elsewhere. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { skipWithout } from "../../support/needs.js";
import { run } from "../../support/run.js";

const PROGRAM = "test/unit/fixtures/progress-line.ts";
const ERASE = "\r\u001b[2K";

let tree: CompiledTree;
beforeAll(() => {
  tree = compileTree(PROGRAM);
});
afterAll(() => tree[Symbol.dispose]());

describe("the progress line", () => {
  test("progress on a terminal is one line, which is overwritten, cut to the width, and erased at the end", async (context) => {
    // Of util-linux: runs a command on a terminal of its own.
    skipWithout(context, "script");
    const command = `stty cols 40; '${process.execPath}' '${tree.file(PROGRAM)}'`;
    const { status, stdout } = await run("script", ["-qec", command, "/dev/null"]);
    expect(status).toBe(0);
    const cut = " 50 %  round 1 of 9: xxxxxxxxxxxxxxxxxxxxxxx".slice(0, 39);
    expect(stdout).toBe(`${ERASE}  0 %  booting the guest${ERASE}${cut}${ERASE}true`);
  });

  test("progress shows nothing elsewhere, unless it is asked for", async () => {
    expect(await run(process.execPath, [tree.file(PROGRAM)])).toMatchObject({ stderr: "", stdout: "false" });
    const { stderr } = await run(process.execPath, [tree.file(PROGRAM), "always"]);
    expect(stderr).toBe(`  0 %  booting the guest\n 50 %  round 1 of 9: ${"x".repeat(100)}\n`);
  });
});
