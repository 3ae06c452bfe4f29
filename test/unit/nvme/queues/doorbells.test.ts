/** Doorbells that are sent as messages, because the client can't map them. */
import { describe, expect, test, vi } from "vitest";
import { VfioUserDevice } from "../../../../src/doors/vfio-user.js";
import { DeviceGoneError, NvmeController } from "../../../../src/index.js";
import { type DoorbellDevice, Doorbells } from "../../../../src/nvme/queues/doorbells.js";
import { caught } from "../../../support/caught.js";
import {
  alsoClose,
  MIB,
  openController,
  startController,
  useEmulatedNvme,
} from "../../../support/emulated-nvme.js";

useEmulatedNvme();

/** Doorbell 2 * id belongs to a submission queue, 2 * id + 1 to a completion queue. */
const doorbellAt = (offset: number): number => (offset - 0x1000) / 4;

describe("doorbells by message", () => {
  test("go in one message per turn, for completions and submissions of all queues", async () => {
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

  test("to a server that has just ended make the commands fail, without an uncaught exception", async () => {
    const running = await startController({ doorbells: "messages" });
    const nvme = alsoClose(await NvmeController.open(running.address));
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const ended = running.close();
    // The thread is about to end, and the driver doesn't know it yet.
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

  test("are sent even if bursts led round the ring to the same value", async () => {
    const nvme = await openController({ doorbells: "messages" }, { queues: 1, queueEntries: 256 });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    await Promise.all(Array.from({ length: 2 * 256 }, () => ns.read(0n, buffer)));
    await ns.read(0n, buffer);
  });
});

describe("doorbells of a device without mappable registers", () => {
  /** BAR 0 of 64 MiB, and the 32-bit writes to it. */
  function unmappable(): {
    readonly device: DoorbellDevice;
    readonly writes: [offset: number, value: number][];
  } {
    const writes: [offset: number, value: number][] = [];
    const sizeBytes = 64 * MIB;
    const device: DoorbellDevice = {
      io: {
        regionInfo: (index) => ({
          index,
          sizeBytes,
          offset: 0,
          readable: true,
          writable: true,
          mappable: [],
          msixMappable: false,
          type: undefined,
        }),
        writeRegion: (_, offset, source) => {
          writes.push([offset, Buffer.from(source).readUInt32LE()]);
        },
      },
      bar: () => ({
        sizeBytes,
        map: () => {
          throw new Error("can't be mapped");
        },
      }),
      retain: () => {},
    };
    return { device, writes };
  }

  test("are read only for queues, however large the BAR is", () => {
    const { device, writes } = unmappable();
    const doorbells = new Doorbells(device);
    doorbells.add(2);
    doorbells.add(3);
    // Nothing announced this doorbell, so it isn't read.
    doorbells.words[5] = 7;
    doorbells.words[2] = 1;
    doorbells.afterRing?.();
    expect(writes).toEqual([[0x1008, 1]]);
  });

  test("are sent again with the same value only if it was written again", () => {
    const { device, writes } = unmappable();
    const doorbells = new Doorbells(device);
    const words = doorbells.add(2);
    words[2] = 0;
    doorbells.afterRing?.();
    doorbells.afterRing?.();
    words[2] = 0;
    doorbells.afterRing?.();
    expect(writes).toEqual([
      [0x1008, 0],
      [0x1008, 0],
    ]);
  });

  test("aren't sent after a reset if they were rung before it", () => {
    const { device, writes } = unmappable();
    const doorbells = new Doorbells(device);
    doorbells.add(2)[2] = 9;
    doorbells.forget();
    doorbells.afterRing?.();
    expect(writes).toEqual([]);
  });
});
