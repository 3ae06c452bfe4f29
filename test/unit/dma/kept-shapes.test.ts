/** The code for buffers, which V8 compiles once: it outlives full garbage collections that find no buffer. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { nodes } from "../../support/nodes.js";
import { run } from "../../support/run.js";

const program = "test/unit/fixtures/buffer-shapes.ts";
let tree: CompiledTree;
beforeAll(() => {
  tree = compileTree(program);
});
afterAll(() => tree[Symbol.dispose]());

describe.each(nodes)("by %s", (node) => {
  test("a collection that finds no buffer doesn't throw away the code for buffers", async () => {
    const outcome = await run(node, ["--expose-gc", "--trace-deopt", tree.file(program)]);
    expect(outcome).toMatchObject({ status: 0, signal: null });
    const [, warm = ""] = outcome.stdout.split("\nwarm\n");
    expect(warm).toContain("\ndone\n");
    const lost = warm.split("\n").filter((line) => line.includes("reason: weak objects"));
    expect(
      lost.filter((line) => /(BufferLease|DmaBuffer|Dependence|closeInto|forget|append)\b/.test(line)),
    ).toEqual([]);
  });
});
