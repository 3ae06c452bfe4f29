/** Processes that are killed during I/O, on one emulated controller. */
import { randomFillSync } from "node:crypto";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Child } from "../../../support/child.js";
import { type CompiledTree, compileTree } from "../../../support/compiled.js";
import { openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { holdings } from "../../../support/holdings.js";

/** IOVA_KILLS=100 for a hundred, which takes a minute. */
const KILLS = Number(process.env["IOVA_KILLS"] ?? 10);
const PROGRAM = "test/guest/fixtures/nvme-endless.ts";
/** Behind the blocks that the program writes. */
const KEPT_LBA = 8192n;

useEmulatedNvme();

let tree: CompiledTree;
beforeAll(() => {
  tree = compileTree(PROGRAM);
});
afterAll(() => tree[Symbol.dispose]());

test(
  "a process killed in the middle of its I/O leaves a controller that the next process can use, with its data",
  async () => {
    const running = await startController();
    const kept = randomFillSync(new Uint8Array(64 * 1024));
    let before = Number.POSITIVE_INFINITY;
    for (let round = 0; round <= KILLS; round++) {
      {
        await using nvme = await openController({}, {}, running);
        const ns = await nvme.namespace(1);
        using buffer = nvme.dma.alloc(kept.length);
        if (round === 0) {
          buffer.bytes.set(kept);
          await ns.write(KEPT_LBA, buffer);
        }
        buffer.bytes.fill(0);
        await ns.read(KEPT_LBA, buffer);
        expect(Buffer.compare(buffer.bytes, kept)).toBe(0);
        await ns.write(0n, buffer);
      }
      if (round === 0) before = holdings().descriptors;
      if (round === KILLS) break;
      const completion = round % 2 === 0 ? "interrupt" : "poll";
      const child = new Child(tree.file(PROGRAM), running.address, JSON.stringify({ completion }));
      await child.says("running");
      child.kill();
      expect(await child.ended).toBe("SIGKILL");
    }
    // The emulator's thread is in this process. Descriptors that clients had sent it close with the clients.
    await vi.waitFor(() => expect(holdings().descriptors).toBeLessThanOrEqual(before), 10_000);
  },
  60_000 + KILLS * 10_000,
);
