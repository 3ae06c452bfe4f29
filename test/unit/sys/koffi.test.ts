/** koffi is loaded by the first call. */
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { compileTree } from "../../support/compiled.js";
import { run } from "../../support/run.js";

test("a first call that can't load koffi says what to do about it, and a later one that can works", async () => {
  const program = "test/unit/fixtures/no-koffi.ts";
  using tree = compileTree(program);
  const modules = join(dirname(tree.file("package.ts")), "node_modules");
  const outcome = await run(process.execPath, [tree.file(program), modules]);
  expect(outcome).toMatchObject({ status: 0, stderr: "" });
  const { missing, later } = JSON.parse(outcome.stdout);
  expect(missing).toMatch(
    /^UnsupportedError: koffi, .* can't be loaded on linux .*Cannot find module 'koffi'/,
  );
  expect(missing).toMatch(
    /If user \d+ may not read it, call the library once before the process becomes that user$/,
  );
  expect(later).toBe("none");
});
