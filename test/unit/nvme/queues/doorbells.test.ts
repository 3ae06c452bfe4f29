import { describe, expect, test, vi } from "vitest";
import { VfioUserDevice } from "../../../../src/doors/vfio-user.js";
import { DeviceGoneError, NvmeController } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import {
  alsoClose,
  openController,
  startController,
  useEmulatedNvme,
} from "../../../support/emulated-nvme.js";

// A busy machine is no failure.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
useEmulatedNvme();

/** Doorbell 2 * id is of a submission queue, 2 * id + 1 of a completion queue. */
const doorbellAt = (offset: number): number => (offset - 0x1000) / 4;

describe("doorbells by message", () => {
  test("of one turn go together: what was completed, what was submitted thereupon, of all queues", async () => {
    const nvme = await openController({ doorbells: "messages" }, { queues: 2 });
    const ns = await nvme.namespace(1);
    const { io } = nvme.device;
    if (!(io instanceof VfioUserDevice)) throw new Error("not behind a socket");
    const write = vi.spyOn(io, "writeRegions");
    const single = vi.spyOn(io, "writeRegion");
    using buffer = nvme.dma.alloc(16 * 512);
    const reader = async (index: number): Promise<void> => {
      for (let i = 0; i < 50; i++) await ns.read(BigInt(i), [{ buffer, offset: index * 512, length: 512 }]);
    };
    await Promise.all(Array.from({ length: 16 }, (_, index) => reader(index)));
    const messages = write.mock.calls.map(([, writes]) => writes.map(({ offset }) => doorbellAt(offset)));
    const doorbells = messages.flat();
    expect(doorbells).toEqual(expect.arrayContaining([2, 3, 4, 5]));
    // Each turn of a queue takes completions and submits the next commands: a head and a tail.
    expect(messages.filter((each) => each.length > 1).length).toBeGreaterThan(messages.length / 2);
    expect(messages.every((each) => new Set(each).size === each.length)).toBe(true);
    expect(single.mock.calls.length).toBeLessThanOrEqual(messages.filter((each) => each.length < 2).length);
  });

  test("to a server that has just gone are no uncaught exception: the commands fail", async () => {
    const running = await startController({ doorbells: "messages" });
    const nvme = alsoClose(await NvmeController.open(running.address));
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const ended = running.close();
    // The thread is about to end; nothing has told the driver so.
    const reads: Promise<unknown>[] = [];
    let isOver = false;
    void ended.then(() => {
      isOver = true;
    });
    while (!isOver) {
      reads.push(ns.read(0n, buffer).catch((error: unknown) => error));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await caught(ns.read(0n, buffer))).toBeInstanceOf(DeviceGoneError);
    await Promise.all(reads);
  });
});
