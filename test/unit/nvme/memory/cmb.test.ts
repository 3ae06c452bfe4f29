/** Memory on an emulated controller: CMB and PMR. */
import { randomFillSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { NvmeController, UnsupportedError } from "../../../../src/index.js";
import { checkDataPointers } from "../../../../src/nvme/command/data-pointer.js";
import { DeviceAddresses } from "../../../../src/nvme/command/device-addresses.js";
import { decodeCmb } from "../../../../src/nvme/memory/cmb.js";
import { decodePmr } from "../../../../src/nvme/memory/pmr.js";
import { caught } from "../../../support/caught.js";
import { MIB, openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

describe("registers", () => {
  test.each([
    // SZU 0: 4 KiB, 1: 64 KiB, 2: 1 MiB, 3: 16 MiB; SZ and OFST count in them.
    [0, 4096],
    [1, 65536],
    [2, MIB],
    [3, 16 * MIB],
  ])("decode CMBSZ.SZU %i as units of %i bytes, in CMBLOC as well", (szu, unit) => {
    const found = decodeCmb((5 << 12) | 2, (7 << 12) | (szu << 8) | 0b11001);
    expect(found).toMatchObject({ bar: 2, offset: 5 * unit, sizeBytes: 7 * unit });
    expect(found).toMatchObject({
      submissionQueues: true,
      completionQueues: false,
      lists: false,
      reads: true,
      writes: true,
      mixedQueues: false,
    });
  });

  test("decode the time units and barriers of PMRCAP", () => {
    expect(decodePmr((1 << 24) | (3 << 16) | (2 << 10) | (1 << 8) | (4 << 5) | (1 << 4))).toEqual({
      bar: 4,
      reads: false,
      writes: true,
      timeoutMs: 180_000,
      flushByRead: false,
      flushByStatus: true,
      inCommands: true,
    });
    expect(decodePmr(4 << 16).timeoutMs).toBe(2000);
  });
});

describe("a controller memory buffer", () => {
  test("carries data both ways, and is allocated in parts", async () => {
    const nvme = await openController({ cmbBytes: MIB });
    const cmb = nvme.controllerMemoryBuffer();
    expect(nvme.controllerMemoryBuffer()).toBe(cmb);
    expect(cmb.sizeBytes).toBe(MIB);
    expect(cmb.properties).toMatchObject({ bar: 2, offset: 0, submissionQueues: true, writes: true });
    // No host buffer can have these addresses.
    for (const { start, last } of nvme.dma.iovaRanges()) {
      expect(cmb.base + BigInt(MIB) <= start || cmb.base > last).toBe(true);
    }
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(64 * 1024);
    using target = nvme.dma.alloc(64 * 1024);
    randomFillSync(source.bytes);
    const inCmb = cmb.alloc(64 * 1024);
    using second = cmb.alloc(MIB - 64 * 1024);
    await ns.write(0n, source);
    await ns.read(0n, inCmb);
    expect(Buffer.compare(inCmb.bytes, source.bytes)).toBe(0);
    await ns.write(1000n, inCmb);
    await ns.read(1000n, target);
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
    expect(() => cmb.alloc(1)).toThrow("no");
    inCmb.close();
    using again = cmb.alloc(10);
    expect(again.iova).toBe(cmb.base);
    expect(second.iova).toBe(cmb.base + 65536n);
  });

  test("holds both rings of a queue pair, and still does after resets", async () => {
    const nvme = await openController({ cmbBytes: MIB });
    const cmb = nvme.controllerMemoryBuffer();
    const entries = 64;
    using submission = cmb.alloc(entries * 64);
    using completion = cmb.alloc(entries * 16);
    const queue = await nvme.createQueuePair({ entries, memory: { submission, completion } });
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(4096);
    using target = nvme.dma.alloc(4096);
    for (const reset of [undefined, "controller", "subsystem", "function"] as const) {
      if (reset !== undefined) await nvme.reset(reset);
      randomFillSync(source.bytes);
      // More commands than the rings have entries, so that they wrap.
      for (let i = 0; i < 200; i++) await ns.write(BigInt(8 * (i % 20)), source, { queue });
      await ns.read(152n, target, { queue });
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      // The last command is in the ring, in the controller's memory.
      const opcodes = Array.from(
        { length: entries },
        (_, i) => (submission.memory.words[i * 16] ?? 0) & 0xff,
      );
      expect(opcodes).toContain(2);
      expect(opcodes).toContain(1);
    }
    await nvme.deleteQueuePair(queue);
  });

  test("is rejected with an UnsupportedError if the controller has none", async () => {
    const nvme = await openController();
    expect(() => nvme.controllerMemoryBuffer()).toThrow(UnsupportedError);
    expect(await caught(nvme.persistentMemoryRegion())).toBeInstanceOf(UnsupportedError);
    const running = await startController({ cmbBytes: MIB });
    const other = await NvmeController.open(running.address);
    await other.close();
    expect(() => other.controllerMemoryBuffer()).toThrow("closed");
  });
});

describe("the rules of memory on a controller", () => {
  const nothing = {
    submissionQueues: false,
    completionQueues: false,
    lists: false,
    independentLists: false,
    reads: false,
    writes: false,
    mixedData: false,
  };
  const READ = 2;
  const WRITE = 1;

  test.each([
    [{ reads: true }, READ, WRITE, "writes can't be in its CMB (CMBSZ.WDS)"],
    [{ writes: true }, WRITE, READ, "reads can't be in its CMB (CMBSZ.RDS)"],
  ])("allow data only if the register does: %o", async (uses, allowed, refused, message) => {
    const nvme = await openController({ cmbBytes: MIB });
    const addresses = new DeviceAddresses("0000:01:00.0", nvme.dma);
    expect(addresses.inUse).toBe(false);
    addresses.take(MIB, { ...nothing, ...uses, kind: "CMB", register: "CMBSZ" });
    // The same addresses in the controller's own CMB.
    using inCmb = nvme.controllerMemoryBuffer().alloc(4096);
    using ordinary = nvme.dma.alloc(4096);
    const rules = {
      space: nvme.dma,
      pageBytes: 4096,
      maxTransferBytes: MIB,
      sgls: 1,
      onController: addresses,
    };
    const data = { buffer: inCmb };
    for (const form of [{ data }, { data: [data] }, { data, metadata: { buffer: inCmb, length: 64 } }]) {
      checkDataPointers({ opcode: allowed, ...form }, rules);
      expect(() => checkDataPointers({ opcode: refused, ...form }, rules)).toThrow(message);
    }
    for (const opcode of [READ, WRITE]) checkDataPointers({ opcode, data: { buffer: ordinary } }, rules);
  });

  test("allow each kind of queue only if the register does, and never in a persistent memory region", async () => {
    const nvme = await openController({ cmbBytes: MIB });
    using inCmb = nvme.controllerMemoryBuffer().alloc(4096);
    using ordinary = nvme.dma.alloc(4096);
    const onlySubmission = new DeviceAddresses("0000:01:00.0", nvme.dma);
    onlySubmission.take(MIB, { ...nothing, submissionQueues: true, kind: "CMB", register: "CMBSZ" });
    onlySubmission.assertRing(inCmb, "submission");
    onlySubmission.assertRing(ordinary, "completion");
    expect(() => onlySubmission.assertRing(inCmb, "completion")).toThrow(
      "0000:01:00.0: a completion queue can't be in its CMB (CMBSZ.CQS)",
    );
    const region = new DeviceAddresses("0000:01:00.0", nvme.dma);
    region.take(MIB, { ...nothing, reads: true, kind: "PMR", register: "PMRCAP" });
    expect(() => region.assertRing(inCmb, "submission")).toThrow(UnsupportedError);
  });

  test("allow lists only if the register does, with their queue or without", async () => {
    const nvme = await openController({ cmbBytes: MIB });
    using inCmb = nvme.controllerMemoryBuffer().alloc(4096);
    using ordinary = nvme.dma.alloc(4096);
    const addresses = (uses: object): DeviceAddresses => {
      const made = new DeviceAddresses("0000:01:00.0", nvme.dma);
      made.take(MIB, { ...nothing, ...uses, kind: "CMB", register: "CMBSZ" });
      return made;
    };
    addresses({}).assertLists(ordinary, inCmb);
    expect(() => addresses({}).assertLists(inCmb, inCmb)).toThrow("can't be in its CMB (CMBSZ.LISTS)");
    const withQueue = addresses({ lists: true });
    withQueue.assertLists(inCmb, inCmb);
    for (const submission of [ordinary, undefined]) {
      expect(() => withQueue.assertLists(inCmb, submission)).toThrow("CMBLOC.CDPCILS");
      addresses({ lists: true, independentLists: true }).assertLists(inCmb, submission);
    }
  });
});

describe("a buffer of limited use", () => {
  const ENTRIES = 8;

  test.each([
    ["LISTS", ["LISTS"], false, "CMBSZ.LISTS"],
    ["CDPCILS", ["CDPCILS"], true, "CMBLOC.CDPCILS"],
  ] as const)("is rejected for lists without %s", async (_, cmbWithout, withQueue, message) => {
    const nvme = await openController({ cmbBytes: 4 * MIB, cmbWithout });
    const cmb = nvme.controllerMemoryBuffer();
    using lists = cmb.alloc(MIB);
    using submission = cmb.alloc(ENTRIES * 64);
    const refused = await caught(nvme.createQueuePair({ entries: ENTRIES, memory: { lists } }));
    expect(refused).toBeInstanceOf(UnsupportedError);
    expect(refused).toMatchObject({ message: expect.stringContaining(message) });
    const both = nvme.createQueuePair({ entries: ENTRIES, memory: { lists, submission } });
    if (!withQueue) {
      expect(await caught(both)).toBeInstanceOf(UnsupportedError);
      return;
    }
    const queue = await both;
    const ns = await nvme.namespace(1);
    using source = nvme.dma.alloc(256 * 1024);
    using target = nvme.dma.alloc(256 * 1024);
    for (const reset of [undefined, "controller", "function"] as const) {
      if (reset !== undefined) await nvme.reset(reset);
      randomFillSync(source.bytes);
      await ns.write(0n, source, { queue });
      await ns.read(0n, target, { queue });
      expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      // The list of the last command: each entry a page of the target's.
      expect(lists.memory.words.indexOf(target.iovaLow + 8192)).toBeGreaterThanOrEqual(0);
    }
    // By SGL segments, too.
    target.bytes.fill(0);
    const parts = [0, 1, 2, 3].map((i) => ({
      buffer: target,
      offset: i * 65_536,
      length: 1020 + 4 * (i === 3 ? 4 : 0),
    }));
    await ns.read(0n, parts, { queue });
    const gathered = Buffer.concat(parts.map(({ offset, length }) => target.view(offset, length)));
    expect(gathered.equals(Buffer.from(source.view(0, gathered.length)))).toBe(true);
    await nvme.deleteQueuePair(queue);
  });

  test("is rejected with the size that lists need if it is too small", async () => {
    const nvme = await openController({ cmbBytes: MIB });
    using lists = nvme.controllerMemoryBuffer().alloc(4096);
    const error = await caught(nvme.createQueuePair({ entries: ENTRIES, memory: { lists } }));
    expect(error).toMatchObject({
      message: expect.stringMatching(/memory\.lists has 4096 bytes.* needs \d+/),
    });
  });

  test("takes data and metadata together or not at all without CDMMMS", async () => {
    const options = { cmbBytes: MIB, cmbWithout: ["CDMMMS"], metadataBytes: 8 } as const;
    const nvme = await openController(options);
    const ns = await nvme.namespace(1);
    const cmb = nvme.controllerMemoryBuffer();
    using there = cmb.alloc(8192);
    using here = nvme.dma.alloc(8192);
    const [data, metadata] = [
      { offset: 0, length: 512 },
      { offset: 4096, length: 8 },
    ];
    for (const buffer of [there, here]) {
      await ns.read(0n, buffer, { ...data, metadata: { buffer, ...metadata } });
    }
    for (const [one, other] of [
      [there, here],
      [here, there],
    ] as const) {
      const mixed = await caught(ns.read(0n, one, { ...data, metadata: { buffer: other, ...metadata } }));
      expect(mixed).toBeInstanceOf(UnsupportedError);
      expect(mixed).toMatchObject({ message: expect.stringContaining("CMBLOC.CDMMMS") });
    }
    const parts = [here, there].map((buffer) => ({ buffer, offset: 0, length: 512 }));
    const mixed = ns.read(0n, parts, { metadata: { buffer: here, offset: 4096, length: 16 } });
    expect(await caught(mixed)).toBeInstanceOf(UnsupportedError);
  });
});
