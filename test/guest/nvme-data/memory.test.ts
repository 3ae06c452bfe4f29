/** Memory on QEMU's controller: its CMB and its PMR. */
import { randomFillSync } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type DmaBuffer, listPciFunctions, NvmeController, UnsupportedError } from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, bindGroup } from "../../support/nvme-machine.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const RESETS = ["controller", "function"] as const;

function controller(): string {
  const found = listPciFunctions().find(({ bdf }) => bdf.endsWith(":12.0"));
  if (found === undefined) throw new Error("this machine has no controller with memory");
  return found.bdf;
}

let binding: { close(): void };
beforeAll(() => {
  binding = bindGroup(controller());
});
afterAll(() => binding.close());

/** Word by word: the virtual machine carries out nothing wider on a CMB. */
function words({ memory, sizeBytes }: DmaBuffer): number[] {
  return Array.from({ length: sizeBytes / 4 }, (_, i) => memory.words[i] ?? 0);
}

describe.each(backends)("an NVMe controller's memory through %s", (backend) => {
  expectNothingLeftSoon();
  let nvme: NvmeController;
  let source: DmaBuffer;
  let target: DmaBuffer;
  beforeEach(async () => {
    nvme = await NvmeController.open(controller(), { backend });
    source = nvme.dma.alloc(3 * PAGE);
    target = nvme.dma.alloc(3 * PAGE);
    randomFillSync(source.bytes);
  });
  afterEach(() => nvme.close());

  test("holds data in the CMB, which commands write and read", async () => {
    const cmb = nvme.controllerMemoryBuffer();
    expect(cmb.sizeBytes).toBe(16 * MIB);
    expect(cmb.properties).toMatchObject({ bar: 2, submissionQueues: true, reads: true, writes: true });
    // No buffer of the host's can have these addresses.
    for (const { start, last } of nvme.dma.iovaRanges()) {
      expect(cmb.base + BigInt(cmb.sizeBytes) <= start || cmb.base > last).toBe(true);
    }
    const ns = await nvme.namespace(1);
    using inCmb = cmb.alloc(3 * PAGE);
    await ns.write(0n, source);
    for (const reset of [undefined, ...RESETS]) {
      if (reset !== undefined) await nvme.reset(reset);
      for (let i = 0; i < 3 * (PAGE / 4); i++) inCmb.memory.words[i] = 0;
      await ns.read(0n, inCmb);
      expect(words(inCmb)).toEqual(words(source));
      await ns.write(64n, inCmb);
      await ns.read(64n, target);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      target.bytes.fill(0);
    }
  });

  test("holds a submission queue in the CMB; QEMU's refuses a completion queue", async () => {
    const cmb = nvme.controllerMemoryBuffer();
    const ns = await nvme.namespace(1);
    using submission = cmb.alloc(16 * 64);
    using completion = cmb.alloc(16 * 16);
    expect(cmb.properties.completionQueues).toBe(false);
    expect(
      await caught(nvme.createQueuePair({ entries: 16, memory: { submission, completion } })),
    ).toBeInstanceOf(UnsupportedError);
    const queue = await nvme.createQueuePair({ entries: 16, memory: { submission } });
    for (const reset of [undefined, ...RESETS]) {
      if (reset !== undefined) await nvme.reset(reset);
      // More than the ring holds: it goes round.
      const pages = Array.from(
        { length: 40 },
        (_, i) => [BigInt(8 * i), { offset: (i % 3) * PAGE }] as const,
      );
      for (const [lba, at] of pages) await ns.write(lba, source, { ...at, length: PAGE, queue });
      await Promise.all(
        pages.slice(0, 3).map(([lba, at]) => ns.read(lba, target, { ...at, length: PAGE, queue })),
      );
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      const opcodes = Array.from({ length: 16 }, (_, i) => (submission.memory.words[i * 16] ?? 0) & 0xff);
      expect(new Set(opcodes)).toEqual(new Set([1, 2]));
    }
    await nvme.deleteQueuePair(queue);
  });

  test("holds data in the PMR, which keeps it over resets", async () => {
    const pmr = await nvme.persistentMemoryRegion();
    expect(pmr.sizeBytes).toBe(16 * MIB);
    expect(pmr.properties).toMatchObject({ bar: 4, reads: true, writes: true, inCommands: true });
    const ns = await nvme.namespace(1);
    using inPmr = pmr.alloc(3 * PAGE);
    await ns.write(0n, source);
    await ns.read(0n, inPmr);
    pmr.flush();
    for (const reset of [undefined, ...RESETS]) {
      if (reset !== undefined) await nvme.reset(reset);
      expect(words(inPmr)).toEqual(words(source));
      await ns.write(64n, inPmr);
      await ns.read(64n, target);
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      target.bytes.fill(0);
      pmr.flush();
    }
    // Both at once, from one to the other.
    const cmb = nvme.controllerMemoryBuffer();
    using inCmb = cmb.alloc(3 * PAGE);
    await ns.read(64n, inCmb);
    await ns.write(128n, inCmb);
    await ns.read(128n, inPmr);
    expect(words(inPmr)).toEqual(words(source));
  });
});
