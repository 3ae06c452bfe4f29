/** A process may end or stop at any moment with a device open: it ends as Node.js says, and the next client is served at once. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { RunningEmulator } from "../../../src/emulator/worker.js";
import { Child } from "../../support/child.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { openController, startController, useEmulatedNvme } from "../../support/emulated-nvme.js";
import { holdings } from "../../support/holdings.js";

const PROGRAM = "test/unit/fixtures/process-ends.ts";
/** How long a process stands still, as in a debugger. IOVA_PAUSE_MS=60000 for a minute. */
const PAUSE_MS = Number(process.env["IOVA_PAUSE_MS"] ?? 2000);

useEmulatedNvme();

let tree: CompiledTree;
let folder: string;
beforeAll(() => {
  tree = compileTree(PROGRAM);
  folder = mkdtempSync(join(tmpdir(), "iova-ends-"));
});
afterAll(() => {
  tree[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

let count = 0;

/** Starts the program, has `end` end it, and checks what is left. @returns the program, which has ended */
async function ending(
  how: string,
  expected: number | NodeJS.Signals,
  end: (child: Child) => unknown = () => {},
  ...nodeOptions: string[]
): Promise<Child> {
  const running: RunningEmulator = await startController();
  const visit = async (): Promise<void> => {
    const nvme = await openController({}, {}, running);
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    await ns.write(0n, buffer);
    buffer.close();
    await nvme.close();
  };
  await visit();
  const before = holdings().descriptors;
  const temporary = join(folder, String(count++));
  mkdirSync(temporary);
  const child = new Child(...nodeOptions, tree.file(PROGRAM), running.address, how, temporary);
  await child.says("busy");
  await end(child);
  expect(await child.ended).toBe(expected);
  await visit();
  expect(readdirSync(temporary)).toEqual([]);
  // The emulator's thread is in this process. Descriptors that the client had sent it close with the client.
  await vi.waitFor(() => expect(holdings().descriptors).toBeLessThanOrEqual(before), 600_000);
  return child;
}

describe("a process with an open controller", () => {
  test.each(["an uncaught exception", "an unhandled rejection"])("ends by %s with status 1", async (how) => {
    const child = await ending(how, 1);
    expect(child.stderr).toMatch(/(thrown|rejected) by the program/);
  });

  test("aborts as Node.js does when V8 is out of memory", async () => {
    const child = await ending("out of memory", "SIGABRT", () => {}, "--max-old-space-size=24");
    expect(child.stderr).toMatch(/heap out of memory/);
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("ends by %s without a handler", async (signal) => {
    await ending("a signal", signal, (child) => process.kill(child.pid, signal));
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "closes in its handler of %s, and ends with its status",
    async (signal) => {
      await ending("a handler", 5, (child) => process.kill(child.pid, signal));
    },
  );

  test("gives its child processes no descriptor of the library", async () => {
    const child = await ending("children", 0);
    const { own, leaked } = JSON.parse(child.stdout.replace("busy", ""));
    expect(own).toBeGreaterThan(2);
    expect(leaked).toEqual([]);
  });

  test("goes on after it was stopped for a while under load, as by a debugger", {
    timeout: 600_000 + PAUSE_MS,
  }, async () => {
    await ending("pause", 0, async (child) => {
      process.kill(child.pid, "SIGSTOP");
      await sleep(PAUSE_MS);
      process.kill(child.pid, "SIGCONT");
      child.tell("end");
    });
  });
});
