/** NVMe data on QEMU's controllers: formats, SGLs, protection information, copies, zones. */
import { randomFillSync } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { DataList } from "../../../src/doors/nvme.js";
import {
  ArgumentError,
  listPciFunctions,
  NvmeController,
  type NvmeNamespace,
  UnsupportedError,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, bindGroup } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
/** Namespaces with protection, of this machine (test/machines.ts). */
const PROTECTED = [2, 3, 4, 6, 7, 8, 9] as const;
const ZONED = 10;

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The two controllers of the subsystem: the first has no limit on transfers, the second 8 KiB. */
function controllers(): [string, string] {
  const at = (slot: string): string => {
    const found = listPciFunctions().find(({ bdf }) => bdf.endsWith(`:${slot}`));
    if (found === undefined) throw new Error(`this machine has nothing at ${slot}`);
    return found.bdf;
  };
  return [at("10.0"), at("11.0")];
}

const bindings: { close(): void }[] = [];
beforeAll(() => {
  // Checks that fail are what this is about; and the kernel, when it looks for partitions, finds fresh blocks without
  // protection. Whatever we didn't expect rejects a promise.
  provoke("pci_nvme_err_req_status");
  for (const bdf of controllers()) bindings.push(bindGroup(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe.each(backends)("NVMe data through %s", (backend) => {
  expectNothingLeftSoon();
  let nvme: NvmeController;
  beforeEach(async () => {
    nvme = await NvmeController.open(controllers()[0], { backend });
  });
  afterEach(() => nvme.close());

  test("includes namespaces of all formats", async () => {
    const shapes = [];
    for (const nsid of await nvme.namespaceIds()) {
      const { blockSizeBytes, metadataBytes, extendedMetadata, protection } = await nvme.namespace(nsid);
      const { type, guardBits, first } = protection?.format ?? {};
      shapes.push([nsid, blockSizeBytes, metadataBytes, extendedMetadata, type, guardBits, first]);
    }
    expect(shapes).toEqual([
      [1, 512, 0, false, undefined, undefined, undefined],
      [2, 512, 8, false, 1, 16, false],
      [3, 512, 8, false, 2, 16, true],
      [4, 4096, 8, false, 3, 16, false],
      [5, 512, 16, true, undefined, undefined, undefined],
      [6, 4096, 64, true, 1, 16, false],
      [7, 4096, 16, false, 1, 64, false],
      [8, 4096, 64, false, 2, 64, true],
      [9, 4096, 16, true, 3, 64, false],
      [10, 4096, 0, false, undefined, undefined, undefined],
    ]);
  });

  test("is scattered and gathered by PRPs and by SGLs in one and in two segments", async () => {
    const ns = await nvme.namespace(1);
    using a = nvme.dma.alloc(64 * PAGE);
    using b = nvme.dma.alloc(64 * PAGE);
    using whole = nvme.dma.alloc(128 * PAGE);
    randomFillSync(a.bytes);
    randomFillSync(b.bytes);
    const lists: DataList[] = [
      [
        { buffer: a, offset: PAGE - 512, length: 512 },
        { buffer: b, offset: 0, length: PAGE },
        { buffer: a, offset: 0, length: 1024 },
      ],
      [
        { buffer: a, offset: 3, length: 509 },
        { buffer: b, offset: 17, length: 1 },
        { buffer: b, offset: 4095, length: 1026 },
      ],
      // Two segments of descriptors.
      Array.from({ length: 640 }, (_, i) => ({ buffer: i % 2 === 0 ? a : b, offset: i * 36, length: 32 })),
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
      const kept = [a.bytes.slice(), b.bytes.slice()];
      for (const part of list)
        if ("buffer" in part) part.buffer.view(part.offset ?? 0, part.length ?? 0).fill(0);
      await ns.read(3n, list);
      expect([a, b].every((buffer, i) => same(buffer.bytes, kept[i] ?? new Uint8Array()))).toBe(true);
    }
    // QEMU's controller says to have no bit buckets.
    const buckets = [{ bitBucketBytes: 700 }, { buffer: whole, offset: 1, length: 324 }];
    expect(await caught(ns.read(200n, buckets))).toBeInstanceOf(ArgumentError);
  });

  test.each(PROTECTED)(
    "is protected end to end on namespace %i, by the driver and by the controller",
    async (nsid) => {
      const ns = await nvme.namespace(nsid);
      const { protection, blockSizeBytes, metadataBytes, extendedMetadata } = ns;
      if (protection === undefined) throw new Error("no protection");
      const blocks = 7;
      const lba = 100n;
      const step = blockSizeBytes + (extendedMetadata ? metadataBytes : 0);
      using data = nvme.dma.alloc(blocks * step);
      using back = nvme.dma.alloc(blocks * step);
      using metadata = extendedMetadata ? undefined : nvme.dma.alloc(blocks * metadataBytes);
      using metadataBack = extendedMetadata ? undefined : nvme.dma.alloc(blocks * metadataBytes);
      randomFillSync(data.bytes);
      if (metadata !== undefined) randomFillSync(metadata.bytes);
      const tags = {
        applicationTag: 0xa5c3,
        referenceTag: protection.format.type === 1 ? lba : protection.format.type === 2 ? 77n : 0x1234n,
      };
      protection.generate(data.bytes, metadata?.bytes, tags);
      await ns.write(lba, data, { metadata, protection: tags });
      await ns.read(lba, back, { metadata: metadataBack, protection: tags });
      expect(same(back.bytes, data.bytes)).toBe(true);
      if (metadata !== undefined && metadataBack !== undefined)
        expect(same(metadataBack.bytes, metadata.bytes)).toBe(true);
      protection.check(back.bytes, metadataBack?.bytes, tags);
      expect(await ns.compare(lba, data, { metadata, protection: tags })).toBe(true);

      const reading = (more: object) =>
        caught(ns.read(lba, back, { metadata: metadataBack, protection: { ...tags, ...more } }));
      expect(await reading({ applicationTag: 1 })).toMatchObject({
        status: "End-to-end Application Tag Check Error",
      });
      if (protection.format.type === 2) {
        expect(await reading({ referenceTag: 78n })).toMatchObject({
          status: "End-to-end Reference Tag Check Error",
        });
      }
      data.bytes[3] = (data.bytes[3] ?? 0) ^ 0x10;
      const guard = { status: "End-to-end Guard Check Error" };
      expect(await caught(ns.write(lba, data, { metadata, protection: tags }))).toMatchObject(guard);
      await ns.write(lba, data, { metadata, protection: { guard: false, reference: false } });
      expect(await reading({})).toMatchObject(guard);

      // The controller makes it alone.
      const plain = protection.isWholeMetadata ? blockSizeBytes : step;
      using source = nvme.dma.alloc(blocks * plain);
      randomFillSync(source.bytes);
      const given = protection.isWholeMetadata ? undefined : metadata;
      await ns.write(lba, source, { metadata: given, protection: { ...tags, action: true } });
      await ns.read(lba, back, { metadata: metadataBack, protection: tags });
      protection.check(back.bytes, metadataBack?.bytes, tags);
      if (protection.isWholeMetadata) {
        using target = nvme.dma.alloc(blocks * plain);
        await ns.read(lba, target, { protection: { ...tags, action: true } });
        expect(same(target.bytes, source.bytes)).toBe(true);
        // As on a plain namespace, without a word of protection.
        await ns.write(500n, source);
        await ns.read(500n, target);
        expect(same(target.bytes, source.bytes)).toBe(true);
        expect(await streamed(ns)).toBe("same");
      }
    },
  );

  /** A stream of a few hundred kilobytes there and back. */
  async function streamed(ns: NvmeNamespace): Promise<string> {
    const content = randomFillSync(Buffer.alloc(80 * 4096));
    const writer = ns.createWriteStream({ lba: 600n, chunkBytes: 40_960 });
    writer.end(content);
    await new Promise((resolve, reject) => writer.once("close", resolve).once("error", reject));
    const parts: Buffer[] = [];
    const options = { lba: 600n, blocks: content.length / ns.blockSizeBytes, chunkBytes: 20_480 };
    for await (const part of ns.createReadStream(options)) parts.push(part);
    return same(Buffer.concat(parts), content) ? "same" : "different";
  }

  test("includes metadata without protection", async () => {
    const ns = await nvme.namespace(5);
    using data = nvme.dma.alloc(9 * 528);
    using back = nvme.dma.alloc(9 * 528);
    randomFillSync(data.bytes);
    await ns.write(1n, data);
    await ns.read(1n, back);
    expect(same(back.bytes, data.bytes)).toBe(true);
    expect(await caught(ns.read(1n, back, { length: 512 }))).toBeInstanceOf(ArgumentError);
  });

  test("is copied, also between kinds of protection", async () => {
    const plain = await nvme.namespace(1);
    using source = nvme.dma.alloc(16 * 512);
    using target = nvme.dma.alloc(16 * 512);
    randomFillSync(source.bytes);
    await plain.write(0n, source);
    await plain.copy(1000n, [
      { lba: 8n, blocks: 8 },
      { lba: 0n, blocks: 8 },
    ]);
    await plain.read(1000n, target);
    expect(same(target.view(0, 4096), source.view(4096, 4096))).toBe(true);
    expect(same(target.view(4096, 4096), source.view(0, 4096))).toBe(true);
    for (const nsid of [2, 7]) {
      const ns = await nvme.namespace(nsid);
      using from = nvme.dma.alloc(4 * ns.blockSizeBytes);
      using to = nvme.dma.alloc(4 * ns.blockSizeBytes);
      randomFillSync(from.bytes);
      await ns.write(0n, from, { protection: { action: true, applicationTag: 7 } });
      await ns.copy(300n, [{ lba: 0n, blocks: 4, applicationTag: 7 }], {
        protection: { action: true, applicationTag: 9 },
      });
      await ns.read(300n, to, { protection: { action: true, applicationTag: 9 } });
      expect(same(to.bytes, from.bytes)).toBe(true);
    }
  });

  test("is trimmed, compared and flushed; what QEMU's controller lacks is refused", async () => {
    const ns = await nvme.namespace(1);
    using data = nvme.dma.alloc(8 * 512);
    randomFillSync(data.bytes);
    await ns.write(500n, data);
    await ns.datasetManagement([{ lba: 500n, blocks: 8, accessFrequency: 2 }], { integralRead: true });
    expect(await ns.compare(500n, data)).toBe(true);
    await ns.deallocate([{ lba: 500n, blocks: 8 }]);
    await ns.flush({ allNamespaces: true });
    for (const run of [
      () => ns.writeUncorrectable(0n, 1),
      () => ns.verify(0n, 1),
      () => ns.reservations.report(),
      () => ns.placement.handles(),
      () => ns.compareAndWrite(0n, data, data),
    ]) {
      expect(await caught(run())).toBeInstanceOf(UnsupportedError);
    }
  });

  test("is in zones that are reported, appended to, opened, closed, finished and reset, with extensions", async () => {
    const ns = await nvme.zonedNamespace(ZONED);
    expect(ns).toMatchObject({
      zoneSizeBlocks: 256n,
      maxOpenZones: 3,
      maxActiveZones: 4,
      extensionBytes: 64,
    });
    await ns.resetZone("all");
    const zones = [];
    for await (const zone of ns.zones({ zonesPerReport: 7 })) zones.push(zone);
    expect(zones.map(({ lba }) => lba)).toEqual(
      Array.from({ length: ns.zoneCount }, (_, i) => BigInt(i) * 256n),
    );
    expect(zones.every(({ state, capacityBlocks }) => state === "empty" && capacityBlocks === 128n)).toBe(
      true,
    );

    const buffers = Array.from({ length: 20 }, (_, i) => {
      const buffer = nvme.dma.alloc(2 * PAGE);
      buffer.bytes.fill(i + 1);
      return buffer;
    });
    const places = await Promise.all(buffers.map((buffer) => ns.append(256n, buffer)));
    expect([...places].sort((a, b) => Number(a - b))).toEqual(buffers.map((_, i) => 256n + BigInt(2 * i)));
    using back = nvme.dma.alloc(2 * PAGE);
    for (const [i, lba] of places.entries()) {
      await ns.read(lba, back);
      expect(back.bytes.every((byte) => byte === i + 1)).toBe(true);
    }
    for (const buffer of buffers) buffer.close();
    expect(await ns.zone(256n)).toMatchObject({ state: "implicitlyOpened", writePointer: 296n });
    await ns.closeZone(256n);
    await ns.openZone("all");
    expect(await ns.zone(256n)).toMatchObject({ state: "explicitlyOpened" });
    await ns.finishZone(256n);
    expect(await ns.zone(256n)).toMatchObject({ state: "full", writePointer: undefined });
    expect(await ns.countZones("full")).toBe(1);
    const extension = randomFillSync(new Uint8Array(64));
    await ns.setZoneExtension(512n, extension);
    const extended = await ns.zone(512n);
    expect(extended.state).toBe("closed");
    expect(same(extended.extension ?? new Uint8Array(), extension)).toBe(true);
    await ns.resetZone("all");
    expect(await ns.countZones("empty")).toBe(ns.zoneCount);
    expect(await caught(nvme.zonedNamespace(1))).toBeInstanceOf(UnsupportedError);
  });

  test("is shared by two controllers of one subsystem, in pieces of 8 KiB", async () => {
    await using other = await NvmeController.open(controllers()[1], { backend });
    expect(other.maxTransferBytes).toBe(8192);
    expect(await other.namespaceIds()).toEqual(await nvme.namespaceIds());
    const [ours, theirs] = [await nvme.namespace(1), await other.namespace(1)];
    using source = nvme.dma.alloc(2 * MIB + 512);
    using target = other.dma.alloc(2 * MIB + 512);
    randomFillSync(source.bytes);
    await ours.writeRange(9n, source, { chunkBytes: 300_000, depth: 3 });
    await theirs.readRange(9n, target, { depth: 16 });
    expect(same(target.bytes, source.bytes)).toBe(true);
    randomFillSync(target.bytes);
    await theirs.writeRange(9n, target);
    await ours.readRange(9n, source);
    expect(same(target.bytes, source.bytes)).toBe(true);
  });
});
