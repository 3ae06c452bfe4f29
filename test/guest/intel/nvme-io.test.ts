/** Reads and writes on QEMU's controllers: all lengths, many commands at once, queues of any size. */
import { randomFillSync, randomInt } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type DmaBuffer, NvmeController, type NvmeNamespace } from "../../../src/index.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindGroup, nvmeControllers, ways } from "../../support/nvme-machine.js";

const PAGE = 4096;
const MIB = 1024n * 1024n;
/** QEMU can't carry out a command with more (its IOV_MAX), whatever MDTS promises. */
const QEMU_MOST_PAGES = 1024;
/** What a device that reads too much would leave traces in. */
const UNTOUCHED = 0x5a;

describe.each(nvmeControllers)("the $name controller", ({ bdf }) => {
  let binding: { close(): void };
  beforeAll(() => {
    binding = bindGroup(bdf());
  });
  afterAll(() => binding.close());
  expectNothingLeftSoon();

  describe.each(ways)("through $backend, completions by $completion", ({ backend, completion }) => {
    let nvme: NvmeController;
    let ns: NvmeNamespace;
    beforeEach(async () => {
      nvme = await NvmeController.open(bdf(), { backend, completion });
      ns = await nvme.namespace(1);
    });
    afterEach(() => nvme.close());

    function randomLba(length: number): bigint {
      return BigInt(randomInt(Number(ns.sizeBlocks) - length / ns.blockSizeBytes + 1));
    }

    /** Writes part of one buffer, reads it back into the same part of the other, and looks at every byte. */
    async function roundTrip(
      source: DmaBuffer,
      target: DmaBuffer,
      offset: number,
      length: number,
    ): Promise<void> {
      const lba = randomLba(length);
      target.bytes.fill(UNTOUCHED);
      await ns.write(lba, source, { offset, length });
      await ns.read(lba, target, { offset, length });
      const expected = Buffer.alloc(target.sizeBytes, UNTOUCHED);
      expected.set(source.view(offset, length), offset);
      if (Buffer.compare(target.bytes, expected) !== 0) {
        const at = expected.findIndex((byte, index) => byte !== target.bytes[index]);
        throw new Error(`${length} bytes at offset ${offset} differ first at ${at}`);
      }
    }

    test("describes the controller and its namespace", async () => {
      expect(nvme.backend).toBe(backend);
      expect(nvme.backendReason).toBe(`${backend} was asked for`);
      expect(nvme.completion).toBe(completion);
      expect(nvme.bdf).toBe(bdf());
      expect(await nvme.namespaceIds()).toEqual([1]);
      expect(nvme.identify.mn).toBe("QEMU NVMe Ctrl");
      const { mdts } = nvme.identify;
      expect(nvme.maxTransferBytes).toBe(mdts === 0 ? 4 * 1024 * 1024 : 2 ** mdts * PAGE);
      const sizeBytes = ns.sizeBlocks * BigInt(ns.blockSizeBytes);
      expect(sizeBytes).toBeGreaterThan(0n);
      expect(sizeBytes % (16n * MIB)).toBe(0n);
    });

    test("reads back what it wrote, at every length from one block to MDTS and at every start", async () => {
      const block = ns.blockSizeBytes;
      const most = nvme.maxTransferBytes;
      using source = nvme.dma.alloc(most + PAGE);
      using target = nvme.dma.alloc(most + PAGE);
      randomFillSync(source.bytes);
      const lengths = new Set([
        // PRP1 alone, PRP2 as an entry, PRP2 as a list.
        ...[block, 2 * block, PAGE, 2 * PAGE, 3 * PAGE, 3 * PAGE + block],
        // One block around half of the most and around the most; odd ones between.
        ...[most / 2 - block, most / 2, most / 2 + block, most - block, most],
        ...Array.from({ length: 4 }, () => randomInt(1, most / block + 1) * block),
      ]);
      const offsets = [0, 4, 512, PAGE - 512, PAGE - 4, PAGE];
      let trips = 0;
      for (const length of lengths) {
        if (length % block !== 0 || length < block || length > most) continue;
        for (const offset of offsets) {
          if (Math.ceil(((offset % PAGE) + length) / PAGE) > QEMU_MOST_PAGES) continue;
          await roundTrip(source, target, offset, length);
          trips++;
        }
      }
      expect(trips).toBeGreaterThanOrEqual(2 * offsets.length);
    });

    test("writes at the first and at the last block of the namespace", async () => {
      using source = nvme.dma.alloc(ns.blockSizeBytes);
      using target = nvme.dma.alloc(ns.blockSizeBytes);
      for (const lba of [0n, ns.sizeBlocks - 1n]) {
        randomFillSync(source.bytes);
        await ns.write(lba, source);
        await ns.read(lba, target);
        expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      }
    });

    test("flushes, forces unit access, and limits retries", async () => {
      using source = nvme.dma.alloc(2 * ns.blockSizeBytes);
      using target = nvme.dma.alloc(2 * ns.blockSizeBytes);
      randomFillSync(source.bytes);
      await ns.write(8n, source, { fua: true, limitedRetry: true });
      await ns.flush();
      await ns.read(8n, target, { fua: true, limitedRetry: true });
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    });
  });
});

describe.each(ways)("many commands at once through $backend, completions by $completion", (way) => {
  const [{ bdf }] = nvmeControllers;
  let binding: { close(): void };
  let nvme: NvmeController;
  let ns: NvmeNamespace;
  beforeAll(() => {
    binding = bindGroup(bdf());
  });
  afterAll(() => binding.close());
  expectNothingLeftSoon();
  beforeEach(async () => {
    nvme = await NvmeController.open(bdf(), { ...way, queueEntries: 16 });
    ns = await nvme.namespace(1);
  });
  afterEach(() => nvme.close());

  test("complete on a queue of 16 entries, each with its own data", async () => {
    const buffers = Array.from({ length: 200 }, (_, i) => {
      const buffer = nvme.dma.alloc(3 * ns.blockSizeBytes);
      buffer.bytes.fill(i + 1);
      return buffer;
    });
    const lba = (i: number): bigint => BigInt(i * 3);
    await Promise.all(buffers.map((buffer, i) => ns.write(lba(i), buffer)));
    // Read in another order than written, into buffers that held something else.
    const order = buffers.map((_, i) => (i * 77) % buffers.length);
    expect(new Set(order).size).toBe(buffers.length);
    for (const buffer of buffers) buffer.bytes.fill(0);
    await Promise.all(buffers.map((buffer, at) => ns.read(lba(order[at] ?? 0), buffer)));
    for (const [at, buffer] of buffers.entries()) {
      const written = ((order[at] ?? 0) + 1) & 0xff;
      expect(buffer.bytes.every((byte) => byte === written)).toBe(true);
    }
    for (const buffer of buffers) buffer.close();
  });

  test("mix reads and writes of all sizes without disturbing each other", async () => {
    const BYTES = 64 * 1024;
    const workers = Array.from({ length: 24 }, async (_, worker) => {
      using source = nvme.dma.alloc(BYTES + PAGE);
      using target = nvme.dma.alloc(BYTES + PAGE);
      // A range of the disk of its own.
      const first = BigInt((worker * BYTES) / ns.blockSizeBytes);
      for (let round = 0; round < 8; round++) {
        const length = randomInt(1, BYTES / ns.blockSizeBytes + 1) * ns.blockSizeBytes;
        const offset = 4 * randomInt(PAGE / 4);
        randomFillSync(source.view(offset, length));
        await ns.write(first, source, { offset, length });
        await ns.read(first, target, { offset, length });
        if (Buffer.compare(source.view(offset, length), target.view(offset, length)) !== 0) return "differs";
      }
      return "same";
    });
    expect(new Set(await Promise.all(workers))).toEqual(new Set(["same"]));
  });

  test("keep their buffers from being closed until they are completed", async () => {
    const buffer = nvme.dma.alloc(PAGE);
    const reading = ns.read(0n, buffer);
    expect(() => buffer.close()).toThrow("an NVMe command uses it (1 in flight)");
    expect(buffer.closed).toBe(false);
    await reading;
    buffer.close();
    expect(buffer.closed).toBe(true);
  });

  test("finish before close() does; later ones are refused", async () => {
    const buffers = Array.from({ length: 40 }, () => nvme.dma.alloc(PAGE));
    const reads = buffers.map((buffer, i) => ns.read(BigInt(i), buffer));
    const closing = nvme.close();
    expect(nvme.close()).toBe(closing);
    await expect(ns.flush()).rejects.toThrow("is closed");
    await expect(Promise.all(reads)).resolves.toHaveLength(40);
    await closing;
    expect(buffers.every((buffer) => buffer.closed)).toBe(true);
  });
});

describe.each(ways)("a queue of any size, through $backend, completions by $completion", (way) => {
  const [{ bdf }] = nvmeControllers;
  let binding: { close(): void };
  beforeAll(() => {
    binding = bindGroup(bdf());
  });
  afterAll(() => binding.close());
  expectNothingLeftSoon();

  test.each([
    ["the smallest", 2, 20],
    ["of no round size", 7, 50],
    // Clipped to what the controller has: 2048.
    ["the largest", 65536, 2500],
  ])("completes all commands if it is %s", async (_, queueEntries, commands) => {
    await using nvme = await NvmeController.open(bdf(), { ...way, queueEntries });
    const ns = await nvme.namespace(1);
    // One buffer for all: what matters here is that every command gets an answer.
    using block = nvme.dma.alloc(ns.blockSizeBytes);
    const reads = Array.from({ length: commands }, (__, i) => ns.read(BigInt(i % 100), block));
    expect(await Promise.all(reads)).toHaveLength(commands);
    await ns.flush();
  });
});
