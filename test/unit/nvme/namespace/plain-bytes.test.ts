/** Reads and writes of Buffers and other bytes outside DMA buffers. */
import { randomBytes } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { ArgumentError, ClosedError, type NvmeNamespace, UnsupportedError } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { MIB, openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

const KIB = 1024;

useEmulatedNvme();

/** What the blocks hold, read the other way: by a DMA buffer. */
async function stored(ns: NvmeNamespace, lba: number, sizeBytes: number): Promise<Buffer> {
  const nvme = opened.get(ns);
  if (nvme === undefined) throw new Error("no controller");
  using buffer = nvme.dma.alloc(sizeBytes);
  await ns.readRange(lba, buffer);
  return Buffer.from(buffer.bytes);
}

const opened = new WeakMap<NvmeNamespace, Awaited<ReturnType<typeof openController>>>();

async function openNamespace(...args: Parameters<typeof openController>): Promise<NvmeNamespace> {
  const nvme = await openController(...args);
  const ns = await nvme.namespace(1);
  opened.set(ns, nvme);
  return ns;
}

describe("NvmeNamespace.write() and read() with bytes anywhere", () => {
  test.each([
    ["a Buffer", (bytes: Buffer) => bytes],
    [
      "a part of a larger Uint8Array",
      (bytes: Buffer) => new Uint8Array([1, 2, 3, ...bytes, 4]).subarray(3, -1),
    ],
    [
      "several parts, some empty",
      (bytes: Buffer) => [bytes.subarray(0, 1), bytes.subarray(1, 1), bytes.subarray(1)],
    ],
    [
      "a view of shared memory",
      (bytes: Buffer) => {
        const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
        shared.set(bytes);
        return shared;
      },
    ],
  ])("moves %s", async (_, make) => {
    const ns = await openNamespace();
    const bytes = randomBytes(8 * KIB);
    await ns.write(5, make(bytes));
    expect(await stored(ns, 5, bytes.length)).toEqual(bytes);
    const target = make(Buffer.alloc(bytes.length));
    await ns.read(5n, target);
    expect(Buffer.concat([target].flat())).toEqual(Buffer.concat([make(bytes)].flat()));
  });

  test("gives a Buffer of as many bytes as asked for", async () => {
    const ns = await openNamespace();
    const bytes = randomBytes(4 * KIB);
    await ns.write(8, bytes);
    const read = await ns.read(8, bytes.length);
    expect(Buffer.isBuffer(read)).toBe(true);
    expect(read).toEqual(bytes);
  });

  test("moves more than one command carries", async () => {
    const ns = await openNamespace({ maxTransferBytes: 16 * KIB });
    const bytes = randomBytes(MIB + 512);
    await ns.write(1, bytes);
    expect(bytes.equals(await stored(ns, 1, bytes.length))).toBe(true);
    expect(bytes.equals(await ns.read(1, bytes.length))).toBe(true);
    const target = new Uint8Array(bytes.length);
    await ns.readRange(1, target, { depth: 3, chunkBytes: 5000 });
    expect(bytes.equals(target)).toBe(true);
    await ns.writeRange(2, [bytes.subarray(0, 512), bytes.subarray(512)], { depth: 2 });
    expect(bytes.equals(await ns.read(2, bytes.length))).toBe(true);
  });

  test("keeps many transfers apart that share few bounce buffers", async () => {
    const ns = await openNamespace({}, { bounceBytes: 16 * KIB });
    const all = Array.from({ length: 64 }, (_, i) => Buffer.alloc(((i % 4) + 1) * KIB, i));
    await Promise.all(all.map((bytes, i) => ns.write(i * 8, bytes)));
    const read = await Promise.all(all.map((bytes, i) => ns.read(i * 8, bytes.length)));
    expect(read).toEqual(all);
  });

  test("leaves the target as it is if the read fails", async () => {
    const ns = await openNamespace();
    const target = Buffer.alloc(KIB, 0x5a);
    await ns.writeUncorrectable(4, 2);
    expect(await caught(ns.read(4, target))).toMatchObject({ name: "NvmeError" });
    expect(target).toEqual(Buffer.alloc(KIB, 0x5a));
    expect(await caught(ns.read(4, KIB))).toMatchObject({ name: "NvmeError" });
  });

  test("compares, and compares and writes", async () => {
    const ns = await openNamespace();
    const [old, next] = [randomBytes(KIB), randomBytes(KIB)];
    await ns.write(0, old);
    expect(await ns.compare(0, old)).toBe(true);
    expect(await ns.compare(0, next)).toBe(false);
    expect(await ns.compareAndWrite(0, next, old)).toBe(false);
    expect(await ns.compareAndWrite(0, [old.subarray(0, 100), old.subarray(100)], next)).toBe(true);
    expect(await ns.read(0, KIB)).toEqual(next);
  });

  test("appends to a zone", async () => {
    const nvme = await openController({ zoned: { zoneSizeBytes: MIB } });
    const zoned = await nvme.zonedNamespace(1);
    const bytes = randomBytes(8 * KIB);
    expect(await zoned.append(0, bytes.subarray(0, 4 * KIB))).toBe(0n);
    expect(await zoned.append(0, [bytes.subarray(4 * KIB)])).toBe(8n);
    expect(await zoned.read(0, bytes.length)).toEqual(bytes);
    const tooLong = Buffer.alloc(zoned.appendLimitBytes + 512);
    expect(await caught(zoned.append(0, tooLong))).toBeInstanceOf(ArgumentError);
  });

  test.each([false, true])("carries metadata (extended: %s)", async (extendedMetadata) => {
    const ns = await openNamespace({ metadataBytes: 16, extendedMetadata });
    const blocks = 4;
    if (extendedMetadata) {
      const bytes = randomBytes(blocks * 528);
      await ns.write(0, bytes);
      expect(await ns.read(0, bytes.length)).toEqual(bytes);
      return;
    }
    const [bytes, metadata] = [randomBytes(blocks * 512), randomBytes(blocks * 16)];
    await ns.write(0, bytes, { metadata });
    const got = { bytes: Buffer.alloc(bytes.length), metadata: Buffer.alloc(metadata.length) };
    await ns.read(0, got.bytes, { metadata: got.metadata });
    expect(got).toEqual({ bytes, metadata });
    expect(await caught(ns.write(0, bytes))).toMatchObject({
      message: expect.stringContaining("options.metadata"),
    });
    expect(await caught(ns.write(0, bytes, { metadata: metadata.subarray(1) }))).toMatchObject({
      message: expect.stringContaining("too short"),
    });
  });

  test("a signal ends a transfer, and its bounce buffer is used again only when the controller has let go of it", async () => {
    const ns = await openNamespace({}, { bounceBytes: 4 * KIB });
    await ns.write(0, Buffer.alloc(KIB, 1));
    for (let i = 0; i < 20; i++) {
      const end = new AbortController();
      const ended = caught(ns.read(0, KIB, { signal: end.signal }));
      end.abort(new Error("enough"));
      expect(await ended).toMatchObject({ message: "enough" });
      expect(await ns.read(0, KIB)).toEqual(Buffer.alloc(KIB, 1));
    }
  });

  test("closing the controller ends those that wait for a bounce buffer", async () => {
    const nvme = await openController({}, { bounceBytes: 4 * KIB });
    const ns = await nvme.namespace(1);
    const reads = Array.from({ length: 8 }, () => ns.read(0, KIB));
    const outcomes = Promise.allSettled(reads);
    await setTimeout(0);
    await nvme.close();
    for (const outcome of await outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(ClosedError);
      else expect(outcome.value).toHaveLength(KIB);
    }
  });
});

describe("bytes that can't be moved are refused before a command is sent", () => {
  test.each<[string, (ns: NvmeNamespace) => Promise<unknown>]>([
    ["no whole blocks", (ns) => ns.write(0, Buffer.alloc(513))],
    ["nothing", (ns) => ns.write(0, Buffer.alloc(0))],
    ["a length of 0", (ns) => ns.read(0, 0)],
    ["half a byte", (ns) => ns.read(0, 512.5)],
    ["more than the namespace has", (ns) => ns.read(0, 2 ** 40)],
    ["what reaches beyond its end", (ns) => ns.read(Number(ns.sizeBlocks) - 1, 1024)],
    ["an offset, which is for DMA buffers", (ns) => ns.write(0, Buffer.alloc(512), { offset: 4 })],
    ["a length beside the bytes", (ns) => ns.read(0, Buffer.alloc(1024), { length: 512 })],
  ])("%s", async (_, move) => {
    const ns = await openNamespace();
    expect(await caught(move(ns))).toBeInstanceOf(ArgumentError);
  });

  test("all of them with bounceBytes 0, while DMA buffers work", async () => {
    const nvme = await openController({}, { bounceBytes: 0 });
    const ns = await nvme.namespace(1);
    const error = await caught(ns.read(0, 512));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toContain("nvme.dma.alloc()");
    using buffer = nvme.dma.alloc(512);
    await ns.read(0, buffer);
  });

  test("a command that is larger than all bounce buffers", async () => {
    const ns = await openNamespace({}, { bounceBytes: 4 * KIB });
    expect(await caught(ns.read(0, 8 * KIB))).toMatchObject({
      message: expect.stringContaining("bounceBytes is 4096"),
    });
  });
});
