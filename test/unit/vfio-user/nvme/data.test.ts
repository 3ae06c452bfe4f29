/** Data paths of the NVMe driver against the emulated controller. */
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { finished, pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { DataList, ZoneStateName } from "../../../../src/doors/nvme.js";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import {
  ArgumentError,
  type DmaBuffer,
  NvmeController,
  NvmeError,
  type NvmeNamespace,
  UnsupportedError,
} from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { emulate } from "../../../support/emulators.js";

const MIB = 1024 * 1024;
const PAGE = 4096;

/** A controller of some shape for all tests of a block. */
function controllerOf(options: NvmeEmulatorOptions): { nvme: NvmeController; ns: NvmeNamespace } {
  const held: { nvme?: NvmeController; ns?: NvmeNamespace } = {};
  let emulator: RunningEmulator;
  beforeAll(async () => {
    emulator = await emulate({ device: "nvme", options: { sizeBytes: 64 * MIB, ...options } });
    held.nvme = await NvmeController.open(emulator.address);
    held.ns = await held.nvme.namespace(1);
  });
  afterAll(async () => {
    await held.nvme?.close();
    await emulator.close();
  });
  return {
    get nvme() {
      if (held.nvme === undefined) throw new Error("not open");
      return held.nvme;
    },
    get ns() {
      if (held.ns === undefined) throw new Error("not open");
      return held.ns;
    },
  };
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Every buffer that a space gave out since then, to see which of them are open. */
function watchBuffers(nvme: NvmeController): { readonly open: number; readonly seen: number } & Disposable {
  const spy = vi.spyOn(nvme.dma, "alloc");
  const all = () => spy.mock.results.flatMap(({ type, value }) => (type === "return" ? [value] : []));
  return {
    get open() {
      return all().filter(({ closed }) => !closed).length;
    },
    get seen() {
      return all().length;
    },
    [Symbol.dispose]: () => spy.mockRestore(),
  };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("data in several buffers", () => {
  const at = controllerOf({});

  test("is written and read as one, by PRPs and by SGLs", async () => {
    const { nvme, ns } = at;
    using a = nvme.dma.alloc(8 * PAGE);
    using b = nvme.dma.alloc(8 * PAGE);
    using whole = nvme.dma.alloc(16 * PAGE);
    randomFillSync(a.bytes);
    randomFillSync(b.bytes);
    const lists: DataList[] = [
      // PRPs can: page borders between.
      [
        { buffer: a, offset: PAGE - 512, length: 512 },
        { buffer: b, offset: 0, length: PAGE },
        { buffer: a, offset: 0, length: 1024 },
      ],
      // Only SGLs can, of any alignment.
      [
        { buffer: a, offset: 3, length: 509 },
        { buffer: b, offset: 17, length: 1 },
        { buffer: b, offset: 4095, length: 1026 },
      ],
      // As many pieces as one command's list has room for here.
      Array.from({ length: 256 }, (_, i) => ({ buffer: i % 2 === 0 ? a : b, offset: i * 18, length: 16 })),
    ];
    for (const list of lists) {
      const bytes = Buffer.concat(
        list.map((part) =>
          "buffer" in part ? part.buffer.view(part.offset ?? 0, part.length ?? 0) : [],
        ) as Uint8Array[],
      );
      await ns.write(3n, list);
      await ns.read(3n, whole, { length: bytes.length });
      expect(same(whole.view(0, bytes.length), bytes)).toBe(true);
      expect(await ns.compare(3n, list)).toBe(true);
      // Back into the pieces, which held it before: scrambled in between.
      const kept = [a.bytes.slice(), b.bytes.slice()];
      for (const part of list)
        if ("buffer" in part) part.buffer.view(part.offset ?? 0, part.length ?? 0).fill(0);
      await ns.read(3n, list);
      expect(same(a.bytes, kept[0] ?? new Uint8Array())).toBe(true);
      expect(same(b.bytes, kept[1] ?? new Uint8Array())).toBe(true);
    }
  });

  test.each([2, 3, 17])("is found over many segments of %i descriptors", async (segmentDescriptors) => {
    const { nvme, ns } = at;
    using source = nvme.dma.alloc(8 * PAGE);
    using target = nvme.dma.alloc(8 * PAGE);
    randomFillSync(source.bytes);
    const pieces = (buffer: DmaBuffer) =>
      Array.from({ length: 128 }, (_, i) => ({ buffer, offset: i * 131 + 1, length: 96 }));
    const sgl = { segmentDescriptors };
    await ns.write(7n, pieces(source), { sgl });
    await ns.read(7n, pieces(target), { sgl });
    for (const { offset, length } of pieces(source))
      expect(same(target.view(offset, length), source.view(offset, length))).toBe(true);
    expect(await ns.compare(7n, pieces(source), { sgl })).toBe(true);
  });

  test("skips the ranges of bit buckets", async () => {
    const { nvme, ns } = at;
    using source = nvme.dma.alloc(4 * 512);
    using target = nvme.dma.alloc(4 * 512);
    randomFillSync(source.bytes);
    await ns.write(100n, source);
    await ns.read(100n, [
      { bitBucketBytes: 700 },
      { buffer: target, offset: 1, length: 324 },
      { bitBucketBytes: 1024 },
    ]);
    expect(same(target.view(1, 324), source.view(700, 324))).toBe(true);
    expect(target.view(325, 1000).every((byte) => byte === 0)).toBe(true);
    await ns.read(100n, source, { sgl: true });
    expect(await caught(ns.write(0n, [{ bitBucketBytes: 512 }]))).toBeInstanceOf(ArgumentError);
  });

  test("is rejected if it doesn't fit, and its buffers can't be closed while they are in flight", async () => {
    const { nvme, ns } = at;
    using a = nvme.dma.alloc(PAGE);
    for (const list of [[], [{ buffer: a, length: 511 }], [{ buffer: a, offset: PAGE, length: 512 }]]) {
      expect(await caught(ns.read(0n, list))).toBeInstanceOf(ArgumentError);
    }
    expect(await caught(ns.read(0n, [{ buffer: a }], { length: 512 }))).toBeInstanceOf(ArgumentError);
    const b = nvme.dma.alloc(PAGE);
    const reading = ns.read(0n, [{ buffer: a }, { buffer: b }]);
    expect(() => b.close()).toThrow("an NVMe command uses it");
    await reading;
    b.close();
  });
});

const protections = [1, 2, 3].flatMap((protection) =>
  (
    [
      { metadataBytes: 8, guardBits: 16 },
      { metadataBytes: 64, guardBits: 16 },
      { metadataBytes: 16, guardBits: 64 },
      { metadataBytes: 64, guardBits: 64, blockSizeBytes: 4096 },
    ] as const
  ).map((rest, i) => ({
    protection,
    // Each format both ways, and each type, too.
    extendedMetadata: (protection + i) % 2 === 0,
    protectionFirst: protection !== 2,
    ...rest,
  })),
);

describe.each(protections)(
  "protection $protection, guard of $guardBits bits in $metadataBytes bytes, extended: $extendedMetadata",
  (options) => {
    const at = controllerOf(options);
    const blocks = 5;
    const lba = 1000n;

    /** Blocks as this namespace transfers them, with what makes and checks them. */
    function prepare(nvme: NvmeController, ns: NvmeNamespace) {
      const { blockSizeBytes, metadataBytes, protection } = ns;
      if (protection === undefined) throw new Error("no protection");
      const data = nvme.dma.alloc(blocks * (blockSizeBytes + (ns.extendedMetadata ? metadataBytes : 0)));
      const metadata = ns.extendedMetadata ? undefined : nvme.dma.alloc(blocks * metadataBytes);
      randomFillSync(data.bytes);
      if (metadata !== undefined) randomFillSync(metadata.bytes);
      return {
        data,
        metadata,
        protection,
        [Symbol.dispose]() {
          data.close();
          metadata?.close();
        },
      };
    }
    const referenceTag = options.protection === 1 ? lba : options.protection === 2 ? 77n : 0x1234n;
    const tags = { applicationTag: 0xa5c3, referenceTag };

    test("the controller checks information that the driver generated, and the driver checks information that the controller returned", async () => {
      const { nvme, ns } = at;
      using one = prepare(nvme, ns);
      using two = prepare(nvme, ns);
      one.protection.generate(one.data.bytes, one.metadata?.bytes, tags);
      await ns.write(lba, one.data, { metadata: one.metadata, protection: tags });
      await ns.read(lba, two.data, { metadata: two.metadata, protection: tags });
      expect(same(two.data.bytes, one.data.bytes)).toBe(true);
      if (one.metadata !== undefined && two.metadata !== undefined)
        expect(same(two.metadata.bytes, one.metadata.bytes)).toBe(true);
      two.protection.check(two.data.bytes, two.metadata?.bytes, tags);
      await ns.verify(lba, blocks, tags);
      expect(await ns.compare(lba, one.data, { metadata: one.metadata, protection: tags })).toBe(true);
    });

    test("a write and a read reject damaged information, and name the damaged field", async () => {
      const { nvme, ns } = at;
      using one = prepare(nvme, ns);
      one.protection.generate(one.data.bytes, one.metadata?.bytes, tags);
      await ns.write(lba, one.data, { metadata: one.metadata, protection: tags });
      const read = (more: object) =>
        caught(ns.read(lba, one.data, { metadata: one.metadata, protection: { ...tags, ...more } }));
      expect(await read({ applicationTag: 1 })).toMatchObject({
        status: "End-to-end Application Tag Check Error",
      });
      const masked = { ...tags, applicationTag: 0xa500, applicationTagMask: 0xff00 };
      await ns.read(lba, one.data, { metadata: one.metadata, protection: masked });
      if (options.protection === 2) {
        expect(await read({ referenceTag: 78n })).toMatchObject({
          status: "End-to-end Reference Tag Check Error",
        });
      }
      one.data.bytes[3] = (one.data.bytes[3] ?? 0) ^ 0x10;
      const error = await caught(ns.write(lba, one.data, { metadata: one.metadata, protection: tags }));
      expect(error).toBeInstanceOf(NvmeError);
      expect(error).toMatchObject({ status: "End-to-end Guard Check Error" });
      expect(() => one.protection.check(one.data.bytes, one.metadata?.bytes, tags)).toThrow(
        "End-to-end Guard Check Error",
      );
      // Not looked at, it is written as it is, and found when it is read.
      await ns.write(lba, one.data, {
        metadata: one.metadata,
        protection: { guard: false, reference: false },
      });
      expect(await read({})).toMatchObject({ status: "End-to-end Guard Check Error" });
    });

    test("the controller generates the same information as the driver (PRACT)", async () => {
      const { nvme, ns } = at;
      using one = prepare(nvme, ns);
      const { isWholeMetadata } = one.protection;
      const bytes =
        blocks * (ns.blockSizeBytes + (ns.extendedMetadata && !isWholeMetadata ? ns.metadataBytes : 0));
      using source = nvme.dma.alloc(bytes);
      using target = nvme.dma.alloc(bytes);
      randomFillSync(source.bytes);
      const metadata = isWholeMetadata ? undefined : one.metadata;
      await ns.write(lba, source, { metadata, protection: { ...tags, action: true } });
      if (isWholeMetadata) {
        await ns.read(lba, target, { protection: { ...tags, action: true } });
        expect(same(target.bytes, source.bytes)).toBe(true);
      }
      await ns.read(lba, one.data, { metadata: one.metadata, protection: tags });
      one.protection.check(one.data.bytes, one.metadata?.bytes, tags);
    });

    test("reads and writes without the protection option work as on an unprotected namespace if the metadata allows it", async () => {
      const { nvme, ns } = at;
      using source = nvme.dma.alloc(4 * ns.blockSizeBytes);
      using target = nvme.dma.alloc(4 * ns.blockSizeBytes);
      randomFillSync(source.bytes);
      if (ns.protection?.isWholeMetadata !== true) {
        expect(await caught(ns.write(8n, source))).toBeInstanceOf(ArgumentError);
        return;
      }
      await ns.write(8n, source);
      await ns.read(8n, target);
      expect(same(target.bytes, source.bytes)).toBe(true);
      await ns.writeZeroes(9n, 1);
      await ns.read(8n, target);
      expect(target.view(ns.blockSizeBytes, ns.blockSizeBytes).every((byte) => byte === 0)).toBe(true);
      expect(
        await caught(ns.read(8n, target, { metadata: source, protection: { action: true } })),
      ).toBeInstanceOf(ArgumentError);
    });

    test("long ranges and chunks transfer the information with the data", async () => {
      const { nvme, ns } = at;
      const count = 40;
      const { blockSizeBytes, metadataBytes, protection } = ns;
      if (protection === undefined) throw new Error("no protection");
      using data = nvme.dma.alloc(count * (blockSizeBytes + (ns.extendedMetadata ? metadataBytes : 0)));
      using metadata = ns.extendedMetadata ? undefined : nvme.dma.alloc(count * metadataBytes);
      randomFillSync(data.bytes);
      protection.generate(data.bytes, metadata?.bytes, tags);
      await ns.writeRange(lba, data, { metadata, protection: tags, chunkBytes: 5 * 4200, depth: 3 });
      let seen = 0;
      const step = blockSizeBytes + (ns.extendedMetadata ? metadataBytes : 0);
      for await (const piece of ns.chunks(lba, count, { protection: tags, chunkBytes: 3 * 4200, depth: 2 })) {
        expect(piece.lba).toBe(lba + BigInt(seen));
        const moved = options.protection === 3 ? 0n : BigInt(seen);
        protection.check(piece.bytes, piece.metadata, { ...tags, referenceTag: tags.referenceTag + moved });
        expect(same(piece.bytes, data.view(seen * step, piece.blocks * step))).toBe(true);
        seen += piece.blocks;
      }
      expect(seen).toBe(count);
    });
  },
);

describe("metadata without protection", () => {
  describe.each([false, true])("extended: %s", (extendedMetadata) => {
    const at = controllerOf({ metadataBytes: 16, extendedMetadata });

    test("is read with the blocks that it was written with", async () => {
      const { nvme, ns } = at;
      expect(ns.metadataBytes).toBe(16);
      const step = extendedMetadata ? 528 : 512;
      using data = nvme.dma.alloc(4 * step);
      using back = nvme.dma.alloc(4 * step);
      using metadata = nvme.dma.alloc(64);
      using metadataBack = nvme.dma.alloc(64);
      for (const buffer of [data, metadata]) randomFillSync(buffer.bytes);
      const given = (m: DmaBuffer) => (extendedMetadata ? {} : { metadata: m });
      await ns.write(5n, data, given(metadata));
      await ns.read(5n, back, given(metadataBack));
      expect(same(back.bytes, data.bytes)).toBe(true);
      if (extendedMetadata) {
        expect(await caught(ns.read(5n, back, { metadata }))).toBeInstanceOf(ArgumentError);
        return;
      }
      expect(same(metadataBack.bytes, metadata.bytes)).toBe(true);
      // By an SGL of its own, in pieces of any size.
      metadataBack.bytes.fill(0);
      await ns.read(5n, back, {
        metadata: [
          { buffer: metadataBack, offset: 1, length: 30 },
          { buffer: metadataBack, offset: 33, length: 31 },
          { bitBucketBytes: 3 },
        ],
      });
      expect(same(metadataBack.view(1, 30), metadata.view(0, 30))).toBe(true);
      expect(same(metadataBack.view(33, 31), metadata.view(30, 31))).toBe(true);
      expect(await caught(ns.read(5n, back))).toMatchObject({
        message: expect.stringContaining("options.metadata"),
      });
      const short = { buffer: metadata, length: 63 };
      expect(await caught(ns.read(5n, back, { metadata: short }))).toBeInstanceOf(ArgumentError);
      expect(await caught(ns.read(5n, back, { metadata, protection: {} }))).toBeInstanceOf(ArgumentError);
    });
  });
});

describe("commands of a namespace", () => {
  const at = controllerOf({ placementHandles: 4 });

  test("include Copy", async () => {
    const { nvme, ns } = at;
    using source = nvme.dma.alloc(16 * 512);
    using target = nvme.dma.alloc(16 * 512);
    randomFillSync(source.bytes);
    await ns.write(0n, source);
    await ns.copy(200, [
      { lba: 8, blocks: 8 },
      { lba: 0n, blocks: 8 },
    ]);
    await ns.read(200n, target);
    expect(same(target.view(0, 8 * 512), source.view(8 * 512, 8 * 512))).toBe(true);
    expect(same(target.view(8 * 512, 8 * 512), source.view(0, 8 * 512))).toBe(true);
    for (const ranges of [[], [{ lba: 0n, blocks: 0 }], [{ lba: 0n, blocks: ns.identify.mssrl + 1 }]]) {
      expect(await caught(ns.copy(0n, ranges))).toBeInstanceOf(ArgumentError);
    }
    expect(await caught(ns.copy(0n, [{ lba: 0n, blocks: 1, referenceTag: 1n }]))).toBeInstanceOf(
      ArgumentError,
    );
    expect(await caught(ns.copy(0n, [{ lba: 0n, blocks: 1 }], { format: 1 }))).toBeInstanceOf(
      UnsupportedError,
    );
  });

  test("include Compare and Write as a fused operation", async () => {
    const { nvme, ns } = at;
    using old = nvme.dma.alloc(4 * 512);
    using fresh = nvme.dma.alloc(4 * 512);
    using back = nvme.dma.alloc(4 * 512);
    randomFillSync(old.bytes);
    randomFillSync(fresh.bytes);
    await ns.write(300n, old);
    expect(await ns.compareAndWrite(300n, old, fresh)).toBe(true);
    expect(await ns.compareAndWrite(300n, old, fresh)).toBe(false);
    await ns.read(300n, back);
    expect(same(back.bytes, fresh.bytes)).toBe(true);
    expect(await caught(ns.compareAndWrite(300n, old, [{ buffer: fresh, length: 512 }]))).toBeInstanceOf(
      ArgumentError,
    );
    // Many at once, on a queue that is full: each pair stays one, and one of each wins.
    const counters = Array.from({ length: 200 }, (_, i) => {
      const buffer = nvme.dma.alloc(512);
      buffer.bytes.fill(i);
      return buffer;
    });
    using zero = nvme.dma.alloc(512);
    await ns.write(400n, zero);
    const [first] = counters;
    const won = await Promise.all(
      counters
        .slice(1)
        .flatMap((buffer, i) => [
          ns.compareAndWrite(400n, zero, buffer),
          ns.read(BigInt(i), first ?? buffer).then(() => false),
        ]),
    );
    expect(won.filter(Boolean)).toHaveLength(1);
    for (const buffer of counters) buffer.close();
  });

  test("include Dataset Management, Write Uncorrectable, Verify, and Flush of all namespaces", async () => {
    const { nvme, ns } = at;
    using data = nvme.dma.alloc(8 * 512);
    randomFillSync(data.bytes);
    await ns.write(500n, data);
    const range = { lba: 500n, blocks: 8, accessFrequency: 3, accessLatency: 1, sequentialRead: true };
    await ns.datasetManagement([range], { integralRead: true, integralWrite: true });
    expect(await ns.compare(500, data)).toBe(true);
    await ns.datasetManagement([{ ...range, lba: 500, writePrepare: true, accessSizeBlocks: 8 }], {
      deallocate: true,
    });
    await ns.read(500n, data);
    expect(data.bytes.every((byte) => byte === 0)).toBe(true);
    expect(await caught(ns.datasetManagement([range], {}))).toBeInstanceOf(ArgumentError);
    expect(
      await caught(ns.datasetManagement([{ ...range, accessFrequency: 6 }], { deallocate: true })),
    ).toBeInstanceOf(ArgumentError);
    await ns.writeUncorrectable(500n, 1);
    expect(await caught(ns.verify(500n, 8))).toMatchObject({ status: "Unrecovered Read Error" });
    await ns.write(500n, data);
    await ns.verify(500, 8);
    await ns.writeZeroes(500, 8);
    await ns.deallocate([{ lba: 500, blocks: 8 }]);
    for (const wrong of [-1, 0.5, 2 ** 53, -1n, 2n ** 64n]) {
      expect(await caught(ns.verify(wrong, 1))).toBeInstanceOf(ArgumentError);
      expect(await caught(ns.deallocate([{ lba: wrong, blocks: 1 }]))).toBeInstanceOf(ArgumentError);
      expect(await caught(ns.readRange(wrong, data))).toBeInstanceOf(ArgumentError);
      expect(() => ns.chunks(wrong, 1)).toThrow(ArgumentError);
      expect(() => ns.createReadStream({ lba: wrong })).toThrow(ArgumentError);
    }
    await ns.flush({ allNamespaces: true });
  });

  test("include reservations", async () => {
    const { reservations } = at.ns;
    expect(await reservations.report()).toMatchObject({ type: undefined, registrants: [] });
    const conflict = { status: "Reservation Conflict" };
    expect(await caught(reservations.acquire(5n, "write-exclusive"))).toMatchObject(conflict);
    await reservations.register(5n);
    await reservations.replace(5n, 6n);
    expect(await caught(reservations.acquire(5n, "write-exclusive"))).toMatchObject(conflict);
    await reservations.acquire(6n, "exclusive-access");
    const held = await reservations.report();
    expect(held).toMatchObject({ type: "exclusive-access", persistsThroughPowerLoss: false });
    expect(held.registrants).toMatchObject([{ holds: true, key: 6n, controllerId: at.nvme.identify.cntlid }]);
    await reservations.preempt(6n, "write-exclusive-registrants-only", 6n);
    expect((await reservations.report()).type).toBe("write-exclusive-registrants-only");
    expect(await caught(reservations.release(6n, "exclusive-access"))).toBeInstanceOf(NvmeError);
    await reservations.release(6n, "write-exclusive-registrants-only");
    await reservations.replace(undefined, 7n);
    await reservations.acquire(7n, "exclusive-access-all-registrants");
    await reservations.unregister(7n);
    expect(await reservations.report()).toMatchObject({ type: undefined, registrants: [] });
    await reservations.register(8n);
    await reservations.clear(8n);
    expect((await reservations.report()).generation).toBeGreaterThan(held.generation);
    expect(await caught(reservations.register(0n))).toBeInstanceOf(ArgumentError);
    expect(await caught(reservations.acquire(2n ** 64n, "write-exclusive"))).toBeInstanceOf(ArgumentError);
  });

  test("include data placement", async () => {
    const { nvme, ns } = at;
    const before = await ns.placement.handles();
    expect(before.map(({ placement }) => placement)).toEqual([0, 1, 2, 3]);
    using data = nvme.dma.alloc(64 * 512);
    await ns.write(0n, data, { placement: 2 });
    const after = await ns.placement.handles();
    expect(after[2]?.availableBlocks).toBe((before[2]?.availableBlocks ?? 0n) - 64n);
    expect(after[1]?.availableBlocks).toBe(before[1]?.availableBlocks);
    await ns.placement.update([2]);
    expect((await ns.placement.handles())[2]?.availableBlocks).toBe(before[1]?.availableBlocks);
    expect(await caught(ns.placement.update([9]))).toBeInstanceOf(NvmeError);
    for (const wrong of [[], [-1], [0x1_0000]]) {
      expect(await caught(ns.placement.update(wrong))).toBeInstanceOf(ArgumentError);
    }
    expect(await caught(ns.write(0n, data, { placement: 0x1_0000 }))).toBeInstanceOf(ArgumentError);
    expect(await caught(ns.write(0n, data, { placement: 1, stream: 1 }))).toBeInstanceOf(ArgumentError);
  });
});

describe("zones", () => {
  const at = controllerOf({
    zoned: { zoneSizeBytes: 2 * MIB, zoneCapacityBytes: MIB, maxOpen: 3, maxActive: 4 },
    blockSizeBytes: 4096,
  });
  const zoneOf = async () => await at.nvme.zonedNamespace(1);

  test("are described and reported", async () => {
    const ns = await zoneOf();
    expect(ns).toMatchObject({ zoneSizeBlocks: 512n, zoneCount: 32, maxOpenZones: 3, maxActiveZones: 4 });
    await ns.resetZone("all");
    const zones = await collect(ns.zones({ zonesPerReport: 5 }));
    expect(zones.map(({ lba }) => lba)).toEqual(Array.from({ length: 32 }, (_, i) => BigInt(i) * 512n));
    expect(zones.every(({ state, capacityBlocks }) => state === "empty" && capacityBlocks === 256n)).toBe(
      true,
    );
    expect(await ns.countZones()).toBe(32);
    expect(await ns.countZones("full")).toBe(0);
    expect((await collect(ns.zones({ from: 31n * 512n + 3n }))).length).toBe(1);
    expect((await collect(ns.zones({ from: 31 * 512 + 3 }))).length).toBe(1);
    expect(await ns.countZones("empty", 512)).toBe(31);
    expect(() => ns.zones({ from: ns.sizeBlocks })).toThrow(ArgumentError);
    expect(() => ns.zones({ zonesPerReport: 0 })).toThrow(ArgumentError);
    for (const state of ["toString", "__proto__", "emtpy"] as unknown as ZoneStateName[]) {
      expect(() => ns.zones({ state })).toThrow("state must be one of empty, ");
      await expect(ns.countZones(state)).rejects.toThrow("state must be one of empty, ");
    }
  });

  test("make a controller that repeats zones in its reports an error", async () => {
    const ns = await zoneOf();
    const { nvme } = at;
    const submitIo = nvme.submitIo.bind(nvme);
    using _ = vi
      .spyOn(nvme, "submitIo")
      .mockImplementation((command, options) => submitIo({ ...command, cdw10: 0, cdw11: 0 }, options));
    expect(await caught(collect(ns.zones({ zonesPerReport: 5 })))).toMatchObject({
      name: "NvmeProtocolError",
      message: expect.stringContaining("don't ascend"),
    });
  });

  test("are written by appends at the place that the controller chooses", async () => {
    const ns = await zoneOf();
    const { nvme } = at;
    await ns.resetZone("all");
    const buffers = Array.from({ length: 20 }, (_, i) => {
      const buffer = nvme.dma.alloc(2 * 4096);
      buffer.bytes.fill(i + 1);
      return buffer;
    });
    const places = await Promise.all(buffers.map((buffer) => ns.append(512, buffer)));
    expect([...places].sort((a, b) => Number(a - b))).toEqual(buffers.map((_, i) => 512n + BigInt(2 * i)));
    using back = nvme.dma.alloc(2 * 4096);
    for (const [i, lba] of places.entries()) {
      await ns.read(lba, back);
      expect(back.bytes.every((byte) => byte === i + 1)).toBe(true);
    }
    expect(await ns.zone(512)).toMatchObject({ state: "implicitlyOpened", writePointer: 552n });
    expect(await caught(ns.append(513, back))).toBeInstanceOf(ArgumentError);
    expect(await caught(ns.write(512n, back))).toMatchObject({ status: "Zone Invalid Write" });
    for (const buffer of buffers) buffer.close();
  });

  test("are written in order from their start by ranges and streams", async () => {
    const ns = await zoneOf();
    const { nvme } = at;
    await ns.resetZone("all");
    using source = nvme.dma.alloc(MIB);
    using target = nvme.dma.alloc(MIB);
    randomFillSync(source.bytes);
    await ns.writeRange(0n, source, { chunkBytes: 12_288, depth: 16 });
    await ns.readRange(0n, target);
    expect(same(target.bytes, source.bytes)).toBe(true);
    const writer = ns.createWriteStream({ lba: 512n, chunkBytes: 20_480 });
    writer.end(Buffer.from(source.bytes));
    await finished(writer);
    await ns.readRange(512n, target);
    expect(same(target.bytes, source.bytes)).toBe(true);
    expect(await ns.zone(512n)).toMatchObject({ state: "full" });
  });

  test("can be opened, closed, finished and reset, one at a time or all", async () => {
    const ns = await zoneOf();
    await ns.resetZone("all");
    const states = async (): Promise<string[]> =>
      (await collect(ns.zones())).slice(0, 4).map(({ state }) => state);
    for (const zone of [0n, 512n, 1024n]) await ns.openZone(zone);
    expect(await caught(ns.openZone(1536n))).toMatchObject({ status: "Too Many Open Zones" });
    using block = at.nvme.dma.alloc(4096);
    await ns.append(0n, block);
    await ns.closeZone(0n);
    await ns.closeZone(512n);
    expect((await states())[0]).toBe("closed");
    await ns.finishZone(0n);
    expect(await ns.zone(0n)).toMatchObject({ state: "full", writePointer: undefined });
    await ns.finishZone("all");
    await ns.resetZone(0n);
    expect((await states())[0]).toBe("empty");
    await ns.resetZone("all");
    expect(await ns.countZones("empty")).toBe(32);
    expect(await caught(ns.offlineZone(0n))).toMatchObject({ status: "Invalid Zone State Transition" });
    expect(await caught(ns.resetZone(1n))).toBeInstanceOf(ArgumentError);
    expect(await caught(ns.setZoneExtension(0n, new Uint8Array(64)))).toBeInstanceOf(UnsupportedError);
  });

  test("are rejected on namespaces that aren't zoned", async () => {
    const emulator = await emulate({ device: "nvme", options: { sizeBytes: MIB } });
    const nvme = await NvmeController.open(emulator.address);
    expect(await caught(nvme.zonedNamespace(1))).toBeInstanceOf(UnsupportedError);
    await nvme.close();
    await emulator.close();
  });
});

describe("a transfer longer than one command", () => {
  const at = controllerOf({ maxTransferBytes: 8192 });
  const total = 3 * MIB + 512;

  test("is split into commands, for reads and writes, buffers and lists", async () => {
    const { nvme, ns } = at;
    using source = nvme.dma.alloc(total);
    using target = nvme.dma.alloc(total + PAGE);
    randomFillSync(source.bytes);
    await ns.writeRange(7, source, { depth: 4 });
    await ns.readRange(7, target, { offset: 4, length: total, depth: 16, chunkBytes: 5000 });
    expect(same(target.view(4, total), source.bytes)).toBe(true);
    await ns.readRange(7n, [
      { buffer: target, offset: 0, length: 100_001 },
      { buffer: target, offset: 200_000, length: total - 100_001 - 200_000 },
      { bitBucketBytes: 200_000 },
    ]);
    expect(same(target.view(0, 100_001), source.view(0, 100_001))).toBe(true);
    expect(same(target.view(200_000, MIB), source.view(100_001, MIB))).toBe(true);
  });

  test("ends at an error or a signal, with no command outstanding", async () => {
    const { nvme, ns } = at;
    const buffer = nvme.dma.alloc(total);
    await ns.writeUncorrectable(1000n, 1);
    expect(await caught(ns.readRange(7n, buffer))).toMatchObject({ status: "Unrecovered Read Error" });
    await ns.writeZeroes(1000n, 1);
    const controller = new AbortController();
    const reading = caught(ns.readRange(7n, buffer, { signal: controller.signal, depth: 2 }));
    controller.abort(new Error("enough"));
    expect(await reading).toMatchObject({ message: "enough" });
    // It would refuse if a command were still there.
    buffer.close();
    using small = nvme.dma.alloc(1024);
    for (const wrong of [{ depth: 0 }, { chunkBytes: 511 }, { length: 513 }, { offset: 2048 }]) {
      expect(await caught(ns.readRange(0n, small, wrong))).toBeInstanceOf(ArgumentError);
    }
    expect(await caught(ns.writeRange(ns.sizeBlocks - 1n, small))).toBeInstanceOf(ArgumentError);
  });

  test("transfers all bytes of a stream, and frees its buffers", async () => {
    const { nvme, ns } = at;
    using buffers = watchBuffers(nvme);
    const content = randomFillSync(Buffer.alloc(total));
    const writer = ns.createWriteStream({ lba: 20n, depth: 3, flush: true });
    for (let at = 0; at < total; at += 70_001) {
      if (!writer.write(content.subarray(at, at + 70_001))) await once(writer, "drain");
    }
    writer.end();
    await finished(writer);
    const parts: Buffer[] = [];
    for await (const part of ns.createReadStream({ lba: 20n, blocks: total / 512 })) parts.push(part);
    expect(same(Buffer.concat(parts), content)).toBe(true);
    // From one place of the namespace to another.
    await pipeline(
      ns.createReadStream({ lba: 20, blocks: total / 512, depth: 2 }),
      ns.createWriteStream({ lba: 20_000 }),
    );
    using back = nvme.dma.alloc(total);
    await ns.readRange(20_000n, back);
    expect(same(back.bytes, content)).toBe(true);
    back.close();
    expect(buffers.open).toBe(0);
    expect(buffers.seen).toBeGreaterThan(10);
  });

  test("frees the buffers of a stream that is destroyed, aborted or left, or that fails", async () => {
    const { nvme, ns } = at;
    using buffers = watchBuffers(nvme);
    const closed = async (stream: NodeJS.EventEmitter & { readonly closed: boolean }): Promise<void> => {
      if (!stream.closed) await once(stream, "close");
    };
    const reader = ns.createReadStream();
    await once(reader, "readable");
    reader.destroy();
    await closed(reader);
    expect(buffers.open).toBe(0);

    const controller = new AbortController();
    const aborted = ns.createReadStream({ signal: controller.signal });
    const failure = caught(finished(aborted));
    aborted.resume();
    await once(aborted, "data");
    controller.abort();
    expect(await failure).toMatchObject({ name: "AbortError" });
    await closed(aborted);
    expect(buffers.open).toBe(0);

    for await (const _ of ns.createReadStream()) break;
    await ns.writeUncorrectable(5000n, 1);
    expect(await caught(ns.createReadStream().resume().toArray())).toMatchObject({
      status: "Unrecovered Read Error",
    });
    await ns.writeZeroes(5000n, 1);

    const writer = ns.createWriteStream();
    writer.write(Buffer.alloc(100_000));
    writer.destroy();
    await closed(writer);

    const partial = ns.createWriteStream();
    partial.end(Buffer.alloc(513));
    expect(await caught(finished(partial))).toBeInstanceOf(ArgumentError);
    await closed(partial);
    const padded = ns.createWriteStream({ pad: true });
    padded.end(Buffer.alloc(513, 7));
    await finished(padded);
    const beyond = ns.createWriteStream({ lba: ns.sizeBlocks - 1n });
    beyond.end(Buffer.alloc(2048));
    expect(await caught(finished(beyond))).toBeInstanceOf(ArgumentError);
    await closed(beyond);
    expect(buffers.open).toBe(0);
    using block = nvme.dma.alloc(1024);
    await ns.read(0n, block);
    expect([block.bytes[512], block.bytes[513]]).toEqual([7, 0]);
  });

  test("frees the buffers of an iterator that is left early", async () => {
    const { nvme, ns } = at;
    using buffers = watchBuffers(nvme);
    let seen = 0;
    for await (const { bytes } of ns.chunks(0n, ns.sizeBlocks, { chunkBytes: 4096 })) {
      expect(bytes.length).toBe(4096);
      if (++seen === 10) break;
    }
    expect(buffers.open).toBe(0);
    expect(() => ns.chunks(0n, ns.sizeBlocks + 1n)).toThrow(ArgumentError);
    expect(() => ns.createReadStream({ lba: -1n })).toThrow(ArgumentError);
    expect(() => ns.createWriteStream({ depth: 0 })).toThrow(ArgumentError);
  });
});
