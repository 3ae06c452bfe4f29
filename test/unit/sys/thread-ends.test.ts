/** A thread may end at any moment with everything open: the process goes on, and the thread's resources are released. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Child, runChild } from "../../support/child.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { openController, startController, useEmulatedNvme } from "../../support/emulated-nvme.js";
import { socketPath } from "../../support/emulators.js";

/** How often each kind is tested. IOVA_ENDS=1000 takes about 20 minutes for each kind. */
const ENDS = Number(process.env["IOVA_ENDS"] ?? 4);
/** So few that a process has ended long before it counts as hanging, at any load. */
const ENDS_OF_A_PROCESS = 20;
const PROGRAMS = {
  main: "test/unit/fixtures/ends-main.ts",
  worker: "test/unit/fixtures/ends-worker.ts",
  emulator: "test/unit/fixtures/ends-emulator.ts",
  emulatorThread: "src/emulator/worker-main.ts",
};

useEmulatedNvme();

let tree: CompiledTree;
beforeAll(() => {
  tree = compileTree(...Object.values(PROGRAMS));
});
afterAll(() => tree[Symbol.dispose]());

test.each(["terminate()", "process.exit in the worker", "an exception"])(
  "a worker that ends by %s leaves the process alive and no descriptor open",
  async (how) => {
    const running = await startController();
    for (let left = ENDS; left > 0; left -= ENDS_OF_A_PROCESS) {
      const count = Math.min(left, ENDS_OF_A_PROCESS);
      const child = new Child(tree.file(PROGRAMS.main), running.address, how, String(count));
      expect([await child.ended, child.stderr]).toEqual([0, ""]);
      const [first, last]: number[] = JSON.parse(child.stdout);
      expect(last).toBe(first);
    }
    await using nvme = await openController({}, {}, running);
    expect(nvme.lifecycle.state).toBe("live");
  },
  60_000 + ENDS * 10_000,
);

test(
  "process.exit of the main thread beside a busy worker ends the process with its status",
  async () => {
    const running = await startController();
    const args = [running.address, "process.exit of the main thread", "1"];
    for (let round = 0; round < ENDS; round++) {
      const child = await runChild(tree.file(PROGRAMS.main), ...args);
      expect([await child.ended, child.stdout, child.stderr]).toEqual([0, "leaving", ""]);
    }
  },
  60_000 + ENDS * 10_000,
);

test(
  "process.exit beside an emulator thread whose doorbells are messages ends the process with its status",
  async () => {
    for (let round = 0; round < ENDS; round++) {
      const child = await runChild(tree.file(PROGRAMS.emulator), socketPath());
      expect([await child.ended, child.stderr]).toEqual([0, ""]);
    }
  },
  60_000 + ENDS * 10_000,
);
