/** DMA and NVMe I/O with physical addresses: the "noiommu" backend, by character device and by group. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { IovaPlacement, MappedBytes } from "../../../src/doors/dma.js";
import { NoiommuIoasMapper } from "../../../src/doors/iommufd.js";
import { NoiommuGroupMapper, VfioContainer, type VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  DmaSpace,
  MappedMemory,
  NvmeController,
  PciDevice,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";

import { c } from "../../../src/sys/libc.js";
import { Edu } from "../../support/edu.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { physicalAddress } from "../../support/pagemap.js";

const PAGE = 4096;
const HUGE = 2 * 1024 * 1024;
/** madvise(2): joins small pages to a huge one at once, where the memory allows it. */
const MADV_COLLAPSE = 25;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

/** A space and an edu in it. */
interface Opened extends Disposable {
  readonly dma: DmaSpace;
  readonly edu: Edu;
}

function byCdev(): Opened {
  const device = PciDevice.open(eduBdf(), { backend: "noiommu" });
  return { dma: device.dma, edu: new Edu(device.io), [Symbol.dispose]: () => device.close() };
}

function byGroup(): Opened {
  const container = VfioContainer.open();
  const group = VfioGroup.openFor(eduBdf());
  group.setContainer(container);
  container.setIommu("noiommu");
  const device: VfioDevice = group.openDevice(eduBdf());
  const dma = new DmaSpace(new NoiommuGroupMapper(container));
  const close = (): void => {
    dma.close();
    container.close();
    group.close();
  };
  return { dma, edu: new Edu(device), [Symbol.dispose]: close };
}

const COMPACTION = "/proc/sys/vm/compact_unevictable_allowed";

/** As on a host whose administrator has seen to it. */
function lockedPagesStay(): Disposable {
  if (!existsSync(COMPACTION)) return { [Symbol.dispose]: () => {} };
  const before = readFileSync(COMPACTION, "utf8");
  writeFileSync(COMPACTION, "0");
  return { [Symbol.dispose]: () => writeFileSync(COMPACTION, before) };
}

describe.each([
  ["character device", byCdev],
  ["group", byGroup],
] as const)("DMA without an IOMMU, by %s", (_, open) => {
  expectNothingLeft();

  test("uses physical addresses, which the buffer has", async () => {
    using opened = open();
    const { dma, edu } = opened;
    expect(dma.backend).toBe("noiommu");
    using buffer = dma.alloc(PAGE);
    expect(buffer.iova).toBe(physicalAddress(buffer.memory.address));
    expect(buffer.contiguous).toBe(true);
    expect(dma.translate(buffer.view(100, 4))).toBe(buffer.iova + 100n);
    const data = randomBytes(512);
    buffer.bytes.set(data);
    await edu.load(buffer.iova, 512);
    await edu.store(buffer.iova + 2048n, 512);
    expect(Buffer.compare(buffer.view(2048, 512), data)).toBe(0);
  });

  test("allocates contiguous pages, or fails", async () => {
    using opened = open();
    const { dma, edu } = opened;
    using buffer = dma.alloc(16 * PAGE);
    expect(buffer.segments).toEqual([{ iova: buffer.iova, sizeBytes: 16 * PAGE }]);
    for (let at = 0; at < 16 * PAGE; at += PAGE) {
      expect(physicalAddress(buffer.memory.address + at)).toBe(buffer.iova + BigInt(at));
    }
    const data = randomBytes(512);
    buffer.bytes.set(data);
    await edu.load(buffer.iova, 512);
    await edu.store(buffer.iova + BigInt(15 * PAGE), 512);
    expect(Buffer.compare(buffer.view(15 * PAGE, 512), data)).toBe(0);
    // No page is as large.
    expect(() => dma.alloc(1024 * HUGE)).toThrow();
    // The error names the pages that would do, not larger ones.
    using taken = MappedMemory.anonymous(freeHugePages() * HUGE, { hugePageBytes: HUGE });
    expect(taken.backing.kind).toBe("huge");
    expect(() => take(dma, HUGE)).toThrow(/0 of \d+ huge pages of 2097152 bytes are free/);
  });

  test("accepts scattered memory if the caller allows it, and reports its segments", () => {
    using _still = lockedPagesStay();
    using opened = open();
    const { dma } = opened;
    using memory = MappedMemory.anonymous(64 * PAGE, { populate: true });
    // Pages that were given back one by one and taken again don't lie in order.
    using buffer = dma.map(memory, { scattered: true });
    const total = buffer.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(total).toBe(64 * PAGE);
    let offset = 0;
    for (const { iova, sizeBytes } of buffer.segments) {
      expect(iova).toBe(physicalAddress(memory.address + offset));
      offset += sizeBytes;
    }
    const middle = memory.bytes.subarray(PAGE + 16, 3 * PAGE);
    const [first] = dma.segments(middle);
    expect(first?.iova).toBe(physicalAddress(memory.address + PAGE) + 16n);
    expect(dma.segments(middle).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(2 * PAGE - 16);
    if (buffer.contiguous) return;
    expect(() => dma.map(memory)).toThrow(UnsupportedError);
    expect(() => dma.translate(memory.bytes)).toThrow(ArgumentError);
  });

  test("maps the same memory twice, and rejects fixed addresses", () => {
    using opened = open();
    const { dma } = opened;
    using memory = MappedMemory.anonymous(HUGE, { hugePageBytes: HUGE });
    const [one, two] = [dma.map(memory), dma.map(memory)];
    expect(one.iova).toBe(two.iova);
    one.close();
    expect(dma.translate(memory.bytes)).toBe(two.iova);
    two.close();
    expect(() => dma.alloc(PAGE, { iova: 0x1000n })).toThrow(ArgumentError);
    expect(() => dma.alloc(PAGE, { addressBits: 13 })).toThrow(
      expect.objectContaining({ name: "IovaSpaceError", reason: "full" }),
    );
  });
});

/** A part of a huge page, by the mapper's own means, whatever smaller pages would do. */
function take(dma: DmaSpace, sizeBytes: number, placement: IovaPlacement = {}): MappedBytes {
  const taken = dma.mapper.extensions?.buffers?.take(sizeBytes, "read-write", undefined, placement);
  if (taken === undefined) throw new Error(`no part of ${sizeBytes} bytes`);
  return taken;
}

function freeHugePages(): number {
  return Number(readFileSync("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "utf8"));
}

describe.each([
  ["character device", byCdev],
  ["group", byGroup],
] as const)("huge pages that buffers share, by %s", (_, open) => {
  expectNothingLeft();

  test("hold many parts, each at its physical address, and are given back with the last one", async () => {
    using opened = open();
    const { dma, edu } = opened;
    const before = freeHugePages();
    const parts = Array.from({ length: 300 }, () => take(dma, PAGE));
    expect(before - freeHugePages()).toBe(1);
    expect(new Set(parts.map(({ iova }) => iova)).size).toBe(parts.length);
    for (const { memory, iova } of parts) expect(physicalAddress(memory.address)).toBe(iova);
    const [first, second] = parts;
    if (first === undefined || second === undefined) throw new Error("no parts");
    const data = randomBytes(512);
    first.memory.bytes.set(data);
    await edu.load(first.iova, 512);
    await edu.store(second.iova, 512);
    expect(Buffer.compare(second.memory.bytes.subarray(0, 512), data)).toBe(0);
    for (const { memory, iova } of parts) {
      dma.mapper.unmap(iova, memory.sizeBytes);
      memory.close();
    }
    expect(freeHugePages()).toBe(before);
  });

  test("never give a part to a second buffer, and what was closed reads as zeros", () => {
    using opened = open();
    const { dma } = opened;
    const kept = take(dma, PAGE);
    const first = take(dma, PAGE);
    const view = first.memory.bytes;
    view.fill(0xa5);
    dma.mapper.unmap(first.iova, PAGE);
    first.memory.close();
    const next = take(dma, PAGE);
    expect(next.iova).not.toBe(first.iova);
    expect(view.every((byte) => byte === 0)).toBe(true);
    view.fill(0x5a);
    expect(next.memory.bytes.every((byte) => byte === 0)).toBe(true);
    for (const { memory, iova } of [kept, next]) {
      dma.mapper.unmap(iova, memory.sizeBytes);
      memory.close();
    }
  });

  test("have aligned parts, and none above a device's limit", () => {
    using opened = open();
    const { dma } = opened;
    const before = freeHugePages();
    const small = take(dma, PAGE);
    const aligned = take(dma, 64 * PAGE, { alignBytes: 64 * PAGE });
    expect(aligned.iova % BigInt(64 * PAGE)).toBe(0n);
    expect(aligned.iova - small.iova).toBe(BigInt(64 * PAGE));
    expect(() => take(dma, PAGE, { last: 0xfffn })).toThrow(expect.objectContaining({ reason: "full" }));
    expect(before - freeHugePages()).toBe(1);
    for (const { memory, iova } of [small, aligned]) {
      dma.mapper.unmap(iova, memory.sizeBytes);
      memory.close();
    }
  });

  test("are one for a buffer and what maps its memory once more", () => {
    using _still = lockedPagesStay();
    using opened = open();
    const { dma } = opened;
    const before = freeHugePages();
    const part = take(dma, 4 * PAGE);
    const again = dma.map(part.memory);
    expect(again.iova).toBe(part.iova);
    again.close();
    expect(before - freeHugePages()).toBe(1);
    dma.mapper.unmap(part.iova, part.memory.sizeBytes);
    part.memory.close();
    expect(freeHugePages()).toBe(before);
  });
});

describe("the noiommu backend", () => {
  expectNothingLeft();

  test("is used only on request, by character device if there is one", () => {
    using device = PciDevice.open(eduBdf(), { backend: "noiommu" });
    expect(device.backend).toBe("noiommu");
    expect(device.backendReason).toBe("noiommu was asked for; by character device");
    expect(device.dma.mapper).toBeInstanceOf(NoiommuIoasMapper);
    expect(() => PciDevice.open(nvmeBdf())).toThrow(UnsupportedError);
  });

  test("does NVMe I/O in a space that another device shares", async () => {
    await using nvme = await NvmeController.open(nvmeBdf(), { backend: "noiommu" });
    expect(nvme.backend).toBe("noiommu");
    const ns = await nvme.namespace(1);
    const sizeBytes = 8 * PAGE;
    using buffer = nvme.dma.alloc(sizeBytes);
    const data = randomBytes(sizeBytes);
    buffer.bytes.set(data);
    await ns.write(16n, buffer);
    buffer.bytes.fill(0);
    await ns.read(16n, buffer);
    expect(Buffer.compare(buffer.bytes, data)).toBe(0);
    using edu = PciDevice.open(eduBdf(), { dma: nvme.dma });
    const engine = new Edu(edu.io);
    await engine.load(buffer.iova, 512);
    await engine.store(buffer.iova + BigInt(PAGE), 512);
    expect(Buffer.compare(buffer.view(PAGE, 512), data.subarray(0, 512))).toBe(0);
    // Pages that lie anywhere in physical memory are named one by one.
    using memory = MappedMemory.anonymous(sizeBytes, { populate: true });
    using scattered = nvme.dma.map(memory, { scattered: true });
    await ns.read(16n, scattered);
    expect(Buffer.compare(scattered.bytes, data)).toBe(0);
  });

  test("accepts only huge pages by group if the kernel may move locked pages", () => {
    using opened = byGroup();
    using memory = MappedMemory.anonymous(PAGE);
    const map = () => opened.dma.map(memory);
    const moves = existsSync(COMPACTION) && readFileSync(COMPACTION, "utf8").trim() !== "0";
    if (moves) expect(map).toThrow(/may move locked pages/);
    else map().close();
    // Left to itself it finds such a page.
    using own = opened.dma.alloc(PAGE);
    expect(own.backing.kind).toBe(moves ? "huge" : "anonymous");
    const before = freeHugePages();
    using more = opened.dma.alloc(PAGE);
    expect(more.backing.kind).toBe(own.backing.kind);
    expect(freeHugePages()).toBe(before);
    using _still = lockedPagesStay();
    map().close();
  });

  test("keeps its pages by group even where the kernel joins small pages to huge ones", () => {
    using _still = lockedPagesStay();
    using opened = byGroup();
    const collapse = (at: number): boolean => c().madvise(at, HUGE, MADV_COLLAPSE) === 0;
    using free = MappedMemory.anonymous(2 * HUGE, { populate: true });
    const hugeAt = (address: number): number => Math.ceil(address / HUGE) * HUGE;
    expect(collapse(hugeAt(free.address))).toBe(true);

    using memory = MappedMemory.anonymous(2 * HUGE, { populate: true });
    const inside = hugeAt(memory.address);
    using mapped = opened.dma.map(memory, { scattered: true });
    expect(collapse(inside)).toBe(false);
    for (const offset of [0, HUGE - PAGE]) {
      const view = mapped.view(inside - memory.address + offset, 4);
      expect(physicalAddress(inside + offset)).toBe(opened.dma.translate(view));
    }
  });
});
