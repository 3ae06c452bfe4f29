/** Batches: commands that are prepared once and submitted together. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import type { BatchCommand } from "../../../../src/doors/nvme.js";
import {
  ArgumentError,
  BusyError,
  ClosedError,
  DeviceGoneError,
  type DmaBuffer,
  NvmeError,
  NvmeProtocolError,
} from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

const KIB = 1024;
const PAGE = 4 * KIB;
/** A status field's value without a status. */
const NO_STATUS = 0xffff;

useEmulatedNvme();

/** One command for each page of a buffer, to so many pages of the namespace from a block on. */
function pages(command: BatchCommand["command"], buffer: DmaBuffer, firstLba = 0): BatchCommand[] {
  return Array.from({ length: buffer.sizeBytes / PAGE }, (_, page) => ({
    command,
    lba: firstLba + page * 8,
    data: { buffer, offset: page * PAGE, length: PAGE },
  }));
}

describe("NvmeNamespace.batch()", () => {
  test("writes, compares and reads, as often as wanted", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(16 * PAGE);
    using target = nvme.dma.alloc(16 * PAGE);
    using writes = ns.batch(pages("write", source, 8));
    using compares = ns.batch(pages("compare", source, 8));
    using reads = ns.batch(pages("read", target, 8));
    expect(reads.length).toBe(16);
    expect([...reads.statuses]).toEqual(new Array(16).fill(NO_STATUS));
    for (let round = 0; round < 3; round++) {
      source.bytes.set(randomBytes(source.sizeBytes));
      await writes.run();
      await compares.run();
      await reads.run();
      expect([...reads.statuses]).toEqual(new Array(16).fill(0));
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    }
  });

  test("may have more commands than the queue, beside other commands", async () => {
    const nvme = await openController({}, { queueEntries: 4 });
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(32 * PAGE);
    source.bytes.set(randomBytes(source.sizeBytes));
    using target = nvme.dma.alloc(32 * PAGE);
    using writes = ns.batch(pages("write", source));
    using reads = ns.batch(pages("read", target));
    await Promise.all([writes.run(), ns.writeRange(1000, source)]);
    const others = [reads.run(), ...Array.from({ length: 20 }, (_, i) => ns.read(i, 512))];
    await Promise.all(others);
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    expect(Buffer.compare(await ns.read(1000, source.sizeBytes), source.bytes)).toBe(0);
  });

  test("moves data of any shape: with PRP lists, in several ranges, with SGLs and bit buckets", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using one = nvme.dma.alloc(64 * KIB);
    using two = nvme.dma.alloc(64 * KIB);
    one.bytes.set(randomBytes(one.sizeBytes));
    using writes = ns.batch([
      { command: "write", lba: 0, data: one },
      {
        command: "write",
        lba: 128,
        data: [
          { buffer: one, offset: 512, length: 512 },
          { buffer: one, length: 512 },
        ],
      },
      { command: "write", lba: 130, data: one, length: 40 * KIB, offset: 4, sgl: true, fua: true },
    ]);
    using reads = ns.batch([
      { command: "read", lba: 0n, data: { buffer: two } },
      { command: "read", lba: 128, data: [{ bitBucketBytes: 512 }, { buffer: two, length: 512 }] },
    ]);
    for (let round = 0; round < 2; round++) {
      await writes.run();
      await reads.run();
      expect(Buffer.compare(two.bytes.subarray(512), one.bytes.subarray(512))).toBe(0);
      expect(Buffer.compare(two.bytes.subarray(0, 512), one.bytes.subarray(0, 512))).toBe(0);
    }
    const written = one.bytes.subarray(4, 4 + 40 * KIB);
    expect(Buffer.compare(await ns.read(130, 40 * KIB), written)).toBe(0);
  });

  test("carries metadata, and protection information that follows the LBA", async () => {
    const nvme = await openController({ metadataBytes: 8, protection: 1 });
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(PAGE);
    using target = nvme.dma.alloc(PAGE);
    source.bytes.set(randomBytes(PAGE));
    const protection = { action: true };
    using write = ns.batch([{ command: "write", lba: 8, data: source, protection }]);
    using read = ns.batch([{ command: "read", lba: 8, data: target, protection }]);
    for (const lba of [8, 800]) {
      write.setLba(0, lba);
      read.setLba(0, lba);
      await write.run();
      await read.run();
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    }
  });

  test("moves to other blocks between two runs", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(4 * PAGE);
    for (let page = 0; page < 4; page++) source.view(page * PAGE, PAGE).fill(page + 1);
    using writes = ns.batch(pages("write", source));
    await writes.run();
    for (let page = 0; page < 4; page++) writes.setLba(page, BigInt(256 - page * 8));
    await writes.run();
    for (let page = 0; page < 4; page++) {
      expect((await ns.read(256 - page * 8, 512))[0]).toBe(page + 1);
      expect((await ns.read(page * 8, 512))[0]).toBe(page + 1);
    }
  });

  test("says which commands failed, and rejects with the error of the first", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    await ns.writeUncorrectable(8, 1);
    await ns.writeUncorrectable(24, 1);
    using target = nvme.dma.alloc(4 * PAGE);
    using reads = ns.batch(pages("read", target));
    const error = await caught(reads.run());
    expect(error).toBeInstanceOf(NvmeError);
    expect(error.message).toMatch(
      /^read \(.*\) \(command 1 of a batch of 4; 2 failed\): Unrecovered Read Error/,
    );
    expect([...reads.statuses].map((status) => status & 0x7ff)).toEqual([0, 0x281, 0, 0x281]);
    await ns.write(8, Buffer.alloc(PAGE));
    await ns.write(24, Buffer.alloc(PAGE));
    await reads.run();
    expect([...reads.statuses]).toEqual([0, 0, 0, 0]);
  });

  test("calls a function in place of a promise, which may start the next run", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using target = nvme.dma.alloc(4 * PAGE);
    using reads = ns.batch(pages("read", target));
    let runs = 0;
    await new Promise<void>((resolve, reject) => {
      const next = (error: Error | undefined): void => {
        if (error !== undefined) reject(error);
        else if (++runs === 10) resolve();
        else reads.start(next);
      };
      reads.start(next);
    });
    expect(runs).toBe(10);
  });

  test("whose function throws, ends the process like any other uncaught error, and goes on", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using target = nvme.dma.alloc(PAGE);
    using reads = ns.batch(pages("read", target));
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    try {
      const uncaught = once(process, "uncaughtException");
      reads.start(() => {
        throw new Error("by the program");
      });
      expect((await uncaught)[0]).toMatchObject({ message: "by the program" });
    } finally {
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
    await reads.run();
  });

  test("takes the next queue pair at each run, or the one it is given", async () => {
    const nvme = await openController({}, { queues: 2 });
    const ns = await nvme.namespace(1);
    const [first, second] = nvme.queues;
    const counts = () => [first, second].map((queue) => queue?.collectStatistics().commands);
    using target = nvme.dma.alloc(4 * PAGE);
    using anywhere = ns.batch(pages("read", target));
    using there = ns.batch(pages("read", target), { queue: second });
    counts();
    await anywhere.run();
    await anywhere.run();
    expect(counts()).toEqual([4, 4]);
    await there.run();
    await there.run();
    expect(counts()).toEqual([4, 12]);
  });
});

describe("a batch of a controller that fails", () => {
  test("rejects when no command is outstanding, and runs again after recovery", async () => {
    const nvme = await openController(
      { faults: [{ kind: "latency", queue: "io", nth: 3, latencyMs: 600_000 }] },
      { queueEntries: 4, timeoutMs: 500, recovery: { retry: "fail" } },
    );
    const ns = await nvme.namespace(1);
    using target = nvme.dma.alloc(16 * PAGE);
    using reads = ns.batch(pages("read", target));
    const error = await caught(reads.run());
    expect(error.message).toMatch(/read.* after 500 ms|500 ms/);
    expect([...reads.statuses]).toContain(NO_STATUS);
    await reads.run();
    expect([...reads.statuses]).toEqual(new Array(16).fill(0));
  });

  test("is submitted again if that is the policy", async () => {
    const nvme = await openController(
      { faults: [{ kind: "fatal", queue: "io", nth: 6 }] },
      { queueEntries: 4, recovery: { retry: "all" } },
    );
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(16 * PAGE);
    source.bytes.set(randomBytes(source.sizeBytes));
    using writes = ns.batch(pages("write", source));
    await writes.run();
    expect(nvme.lifecycle.state).toBe("live");
    expect(Buffer.compare(await ns.read(0, source.sizeBytes), source.bytes)).toBe(0);
  });

  test("rejects for good once the controller stays down, also if commands wait for a slot", async () => {
    const nvme = await openController(
      { faults: [{ kind: "all-ones", queue: "io", nth: 6 }] },
      { queueEntries: 4, timeoutMs: 500 },
    );
    const ns = await nvme.namespace(1);
    using target = nvme.dma.alloc(16 * PAGE);
    using reads = ns.batch(pages("read", target));
    const error = await caught(reads.run());
    expect(error).not.toBeInstanceOf(NvmeError);
    expect(error instanceof DeviceGoneError || error instanceof NvmeProtocolError).toBe(true);
    expect(reads.statuses.at(-1)).toBe(NO_STATUS);
    expect(await caught(reads.run())).toBeInstanceOf(Error);
    expect(() => reads.start(() => {})).toThrow(Error);
  });
});

describe("a batch refuses", () => {
  test("wrong commands, before any is submitted", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(PAGE);
    const good: BatchCommand = { command: "read", lba: 0, data: buffer };
    const wrong: readonly (readonly [unknown, string])[] = [
      [[], "commands is empty"],
      ["no", "commands must be an array"],
      [[null], "commands[0] must be an object"],
      [[good, { ...good, command: "trim" }], "commands[1].command must be one of read, write, compare"],
      [[{ ...good, lba: -1 }], "lba"],
      [[{ ...good, timeoutMs: 5 }], 'commands[0] has no option "timeoutMs"'],
      [[{ ...good, data: Buffer.alloc(PAGE) }], "data must be a DmaBuffer"],
      [[{ ...good, length: 100 }], "length 100 is not a multiple of the block size 512"],
      [[{ ...good, data: [] }], "the list of data is empty"],
    ];
    for (const [commands, message] of wrong) {
      // @ts-expect-error what JavaScript may pass
      const make = () => ns.batch(commands);
      expect(make).toThrow(ArgumentError);
      expect(make).toThrow(message);
    }
    // @ts-expect-error what JavaScript may pass
    expect(() => ns.batch([good], { quue: undefined })).toThrow('options has no option "quue"');
    using batch = ns.batch([good]);
    expect(() => batch.setLba(1, 0)).toThrow(ArgumentError);
    expect(() => batch.setLba(0, 1.5)).toThrow(ArgumentError);
    // @ts-expect-error what JavaScript may pass
    expect(() => batch.start("no")).toThrow("onEnd must be a function");
  });

  test("to run twice at once, to be changed or closed while it runs, and to run on closed buffers", async () => {
    const nvme = await openController({ faults: [{ kind: "latency", queue: "io", latencyMs: 200 }] });
    const ns = await nvme.namespace(1);
    const buffer = nvme.dma.alloc(PAGE);
    const batch = ns.batch(pages("read", buffer));
    const running = batch.run();
    expect(await caught(batch.run())).toBeInstanceOf(BusyError);
    expect(() => batch.setLba(0, 5)).toThrow(BusyError);
    expect(() => batch.close()).toThrow(BusyError);
    expect(() => buffer.close()).toThrow(BusyError);
    await running;
    buffer.close();
    expect(await caught(batch.run())).toBeInstanceOf(ClosedError);
    batch.close();
    expect(await caught(batch.run())).toBeInstanceOf(ClosedError);
    expect(() => batch.setLba(0, 5)).toThrow(ClosedError);
  });

  test("to run once the controller is closed, and what runs then ends", async () => {
    const nvme = await openController(
      { faults: [{ kind: "latency", queue: "io", latencyMs: 600_000 }] },
      { timeoutMs: 500 },
    );
    const ns = await nvme.namespace(1);
    const buffer = nvme.dma.alloc(PAGE);
    const batch = ns.batch(pages("read", buffer));
    const running = caught(batch.run());
    await nvme.close();
    expect(await running).toBeInstanceOf(Error);
    expect(await caught(batch.run())).toBeInstanceOf(ClosedError);
    expect(batch.closed).toBe(true);
  });
});
