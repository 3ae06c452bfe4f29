/** Several I/O queue pairs, on an emulated controller. */
import { randomFillSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { BusyError, ClosedError } from "../../../../src/core/errors.js";
import {
  ArgumentError,
  NvmeController,
  NvmeError,
  type NvmeOptions,
  UnsupportedError,
} from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import {
  alsoClose,
  MIB,
  openController,
  startController,
  useEmulatedNvme,
} from "../../../support/emulated-nvme.js";

useEmulatedNvme();

describe.each(["interrupt", "poll"] as const)("queue pairs, completions by %s", (completion) => {
  test("exist in the requested number, are all used, and return their own data", async () => {
    const nvme = await openController({}, { completion, queues: 4, queueEntries: 16 });
    expect(nvme.queues.map(({ id, entries }) => [id, entries])).toEqual([1, 2, 3, 4].map((id) => [id, 16]));
    expect(nvme.maxQueues).toBe(64);
    const vectors = nvme.queues.map(({ vector }) => vector);
    expect(vectors).toEqual(completion === "poll" ? [0, 0, 0, 0] : [1, 2, 3, 4]);
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(256 * 512);
    using target = nvme.dma.alloc(256 * 512);
    randomFillSync(source.bytes);
    const all = Array.from({ length: 256 }, (_, i) => i);
    const range = (i: number) => ({ offset: i * 512, length: 512 });
    await Promise.all(all.map((i) => ns.write(BigInt(i), source, range(i))));
    // Each queue reads in turn what the others wrote.
    await Promise.all(
      all.map((i) => ns.read(BigInt(i), target, { ...range(i), queue: nvme.queues[(i + 1) % 4] })),
    );
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
  });

  test("get commands in turn", async () => {
    const nvme = await openController({}, { completion, queues: 3 });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    const reads = Array.from({ length: 9 }, () => ns.read(0n, buffer));
    expect(nvme.queues.map(({ outstanding }) => outstanding)).toEqual([3, 3, 3]);
    await Promise.all(reads);
    const third = nvme.queues[2];
    const named = Array.from({ length: 5 }, () => ns.read(0n, buffer, { queue: third }));
    expect(nvme.queues.map(({ outstanding }) => outstanding)).toEqual([0, 0, 5]);
    await Promise.all(named);
  });

  test("are created and deleted while others work, and then their id is free again", async () => {
    const nvme = await openController({}, { completion, queues: 1, vectors: 3 });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    let stop = false;
    const [first] = nvme.queues;
    const others = Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!stop) await ns.read(0n, buffer, { queue: first });
      }),
    );
    for (let round = 0; round < 5; round++) {
      const queue = await nvme.createQueuePair({ entries: 8 });
      expect(queue).toMatchObject({ id: 2, entries: 8, vector: completion === "poll" ? 0 : 2 });
      expect(nvme.queues).toContain(queue);
      const reads = Array.from({ length: 20 }, () => ns.read(1n, buffer, { queue }));
      // Waits for its outstanding commands.
      const deletion = nvme.deleteQueuePair(queue);
      expect(await caught(nvme.deleteQueuePair(queue))).toBeInstanceOf(BusyError);
      await Promise.all(reads);
      await deletion;
      expect(nvme.queues).not.toContain(queue);
      expect(await caught(ns.read(1n, buffer, { queue }))).toBeInstanceOf(ArgumentError);
    }
    stop = true;
    await others;
  });
});

describe("the number of queues and vectors", () => {
  test("is limited by what the controller grants", async () => {
    const nvme = await openController({ queuePairs: 2 }, { queues: 5 });
    expect(nvme.queues.length).toBe(2);
    expect(nvme.maxQueues).toBe(2);
    expect(await caught(nvme.createQueuePair())).toBeInstanceOf(UnsupportedError);
  });

  test("may be smaller for vectors: queues share them", async () => {
    const nvme = await openController({ vectors: 3 }, { queues: 5 });
    expect(nvme.queues.map(({ vector }) => vector)).toEqual([1, 2, 1, 2, 1]);
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    for (const queue of nvme.queues) await ns.read(0n, buffer, { queue });
    expect(await caught(nvme.createQueuePair({ vector: 3 }))).toBeInstanceOf(ArgumentError);
    const own = await nvme.createQueuePair({ vector: 0 });
    await ns.read(0n, buffer, { queue: own });
  });

  test.each([1, 0])("may be %d for vectors of MSI-X, which serve admin and I/O queues", async (vectors) => {
    const nvme = await openController({ vectors }, { queues: 3, completion: "interrupt" });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    await Promise.all(Array.from({ length: 30 }, () => ns.read(0n, buffer)));
    expect(await nvme.namespaceIds()).toEqual([1]);
  });

  test("may be 0 for I/O queues until one is created", async () => {
    const nvme = await openController({}, { queues: 0 });
    expect(nvme.queues).toEqual([]);
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(512);
    expect(await caught(ns.read(0n, buffer))).toBeInstanceOf(UnsupportedError);
    await nvme.createQueuePair();
    await ns.read(0n, buffer);
  });

  test("a queue of another controller is rejected", async () => {
    const one = await openController();
    const other = await openController();
    const ns = await one.namespace(1);
    using buffer = one.dma.alloc(512);
    expect(await caught(ns.read(0n, buffer, { queue: other.queues[0] }))).toBeInstanceOf(ArgumentError);
    expect(await caught(one.deleteQueuePair(other.queues[0] ?? never()))).toBeInstanceOf(ArgumentError);
  });

  test("memory pages of 64 KiB carry transfers that start anywhere", async () => {
    const nvme = await openController({}, { memoryPageBytes: 65536, queues: 2 });
    expect(nvme.memoryPageBytes).toBe(65536);
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(MIB);
    using target = nvme.dma.alloc(MIB);
    randomFillSync(source.bytes);
    for (const offset of [0, 4, 4096, 65532]) {
      const range = { offset, length: 900 * 1024 };
      target.bytes.fill(0);
      await ns.write(3n, source, range);
      await ns.read(3n, target, range);
      expect(Buffer.compare(target.view(offset, range.length), source.view(offset, range.length))).toBe(0);
    }
  });

  test.each<[NvmeOptions, string]>([[{ memoryPageBytes: 131072 }, "memory pages"]])(
    "%j is rejected if the controller lacks it, and nothing stays open",
    async (options, message) => {
      const running = await startController();
      const error = await caught(NvmeController.open(running.address, options));
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error).toMatchObject({ message: expect.stringContaining(message) });
      alsoClose(await NvmeController.open(running.address));
    },
  );

  test("commands of the admin queue are rejected by I/O queues", async () => {
    const nvme = await openController({}, { commandSets: "admin" });
    expect(nvme.queues).toEqual([]);
    expect(await nvme.namespaceIds()).toEqual([1]);
  });
});

describe("queue memory of the caller", () => {
  test("is in use until the queue is deleted, and is then the caller's again", async () => {
    const nvme = await openController({}, { queues: 1 });
    const ns = await nvme.namespace(1);
    const submission = nvme.dma.alloc(64 * 64, { shared: true });
    const completion = nvme.dma.alloc(4096);
    completion.bytes.fill(0xff);
    submission.bytes.fill(0xff);
    using buffer = nvme.dma.alloc(512);
    const queue = await nvme.createQueuePair({ entries: 64, memory: { submission, completion } });
    await ns.read(5n, buffer, { queue });
    // Opcode read, LBA 5: the entry is in the caller's memory.
    expect(submission.memory.words[0]).toBe(((submission.memory.words[0] ?? 0) & 0xffff_0000) | 2);
    expect(submission.memory.words[10]).toBe(5);
    // The memory behind the ring is unchanged.
    expect(completion.bytes[64 * 16]).toBe(0xff);
    expect(() => submission.close()).toThrow(BusyError);
    await nvme.deleteQueuePair(queue);
    submission.close();
    completion.close();
  });

  test("is rejected if it is unsuitable, before anything is sent", async () => {
    const nvme = await openController();
    const other = await openController();
    using small = nvme.dma.alloc(4096);
    using foreign = other.dma.alloc(65536);
    const make = (submission: typeof small) => nvme.createQueuePair({ entries: 256, memory: { submission } });
    expect(await caught(make(small))).toMatchObject({ message: expect.stringContaining("4096 bytes") });
    expect(await caught(make(foreign))).toBeInstanceOf(ArgumentError);
    const closed = nvme.dma.alloc(65536);
    closed.close();
    expect(await caught(make(closed))).toBeInstanceOf(ClosedError);
    expect(await caught(nvme.createQueuePair({ entries: 1 }))).toBeInstanceOf(ArgumentError);
    expect(await caught(nvme.createQueuePair({ priority: "urgent" }))).toBeInstanceOf(UnsupportedError);
    expect(nvme.queues.length).toBe(1);
  });

  test("is given back if the controller rejects the queue", async () => {
    const nvme = await openController({
      faults: [{ kind: "status", queue: "admin", opcode: 1, nth: 2, status: 0x102 }],
    });
    using submission = nvme.dma.alloc(65536);
    const error = await caught(nvme.createQueuePair({ memory: { submission } }));
    expect(error).toBeInstanceOf(NvmeError);
    // The completion queue was deleted, too: the same id works.
    expect((await nvme.createQueuePair({ memory: { submission } })).id).toBe(2);
    await nvme.close();
  });
});

function never(): never {
  throw new Error("there is no such queue");
}
