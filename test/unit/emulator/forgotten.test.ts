/** An emulator on a thread that the program forgets. */
import { expect, test } from "vitest";
import { runChild } from "../../support/child.js";
import { compileTree } from "../../support/compiled.js";
import { socketPath } from "../../support/emulators.js";

test("a program that forgets its emulator ends by itself, after the order that it waits for", async () => {
  using tree = compileTree("test/unit/fixtures/forgotten-emulator.ts", "src/emulator/worker-main.ts");
  const child = await runChild(tree.file("test/unit/fixtures/forgotten-emulator.ts"), socketPath());
  expect([await child.ended, child.stdout, child.stderr]).toEqual([0, "forgotten", ""]);
});
