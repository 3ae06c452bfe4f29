/** DmaSpace and DmaBuffer on every backend. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { IovaSpaceReason } from "../../../src/doors/dma.js";
import {
  ArgumentError,
  BusyError,
  bindToVfio,
  ClosedError,
  type DmaBuffer,
  iova,
  MappedMemory,
  PciDevice,
  type VfioBinding,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { Edu } from "../../support/edu.js";
import { eduBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const MSI_WINDOW = 0xfee00000n;

/** Memory that devices may reach now, by whichever count the backend keeps. */
const pinnedKib = (): number => holdings().pinnedKib + holdings().lockedKib;

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

describe.each(backendNames)("a DMA space of %s", (backend) => {
  expectNothingLeft();

  const open = (): PciDevice => PciDevice.open(eduBdf(), { backend });
  /** The same on both, whether the kernel (iommufd) or our allocator (type1) refuses. */
  const refused = (reason: IovaSpaceReason): unknown =>
    expect.objectContaining({ name: "IovaSpaceError", code: "ERR_IOVA_NO_SPACE", reason });

  test("says which addresses it can map", () => {
    using device = open();
    expect(device.dma.backend).toBe(backend);
    expect(device.dma.alignmentBytes()).toBe(PAGE);
    const ranges = device.dma.iovaRanges();
    expect(ranges.map(({ start }) => start)).toEqual([0n, MSI_WINDOW + 0x100000n]);
    expect(ranges[0]?.last).toBe(MSI_WINDOW - 1n);
  });

  test.each([1, 4095, 4096, 4097, MIB])("allocates %i zeroed bytes", (sizeBytes) => {
    using device = open();
    using buffer = device.dma.alloc(sizeBytes);
    expect(buffer.sizeBytes).toBe(sizeBytes);
    expect(buffer.bytes).toHaveLength(sizeBytes);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    expect(buffer.iova).toBeGreaterThan(0n);
    expect(buffer.iova % BigInt(PAGE)).toBe(0n);
    expect((BigInt(buffer.iovaHigh) << 32n) | BigInt(buffer.iovaLow)).toBe(buffer.iova);
    expect(buffer.memory.sizeBytes).toBe(Math.ceil(sizeBytes / PAGE) * PAGE);
    expect(buffer.space).toBe(device.dma);
    // Not the heap's: a shared range that stays where it is.
    expect(buffer.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    buffer.bytes[sizeBytes - 1] = 0xee;
    expect(buffer.view(sizeBytes - 1, 1)).toEqual(Uint8Array.of(0xee));
  });

  test("never hands out an address twice, and reuses one that was given back", () => {
    using device = open();
    const buffers = [PAGE, 3 * PAGE, 1, 64 * 1024].map((sizeBytes) => device.dma.alloc(sizeBytes));
    const ranges = buffers
      .map((buffer) => ({ start: buffer.iova, end: buffer.iova + BigInt(buffer.memory.sizeBytes) }))
      .sort((a, b) => Number(a.start - b.start));
    for (const [i, { end }] of ranges.slice(0, -1).entries()) {
      expect(end).toBeLessThanOrEqual(ranges[i + 1]?.start ?? 0n);
    }
    const [first] = buffers;
    first?.close();
    using next = device.dma.alloc(PAGE);
    expect(next.iova).toBe(first?.iova);
  });

  test("aligns memory as requested", () => {
    using device = open();
    using buffer = device.dma.alloc(PAGE, { alignBytes: 64 * 1024 });
    expect(buffer.memory.address % (64 * 1024)).toBe(0);
    expect(() => device.dma.alloc(PAGE, { alignBytes: 3000 })).toThrow(ArgumentError);
  });

  test("maps at a requested address, unless it is taken, misaligned or reserved", () => {
    using device = open();
    const { dma } = device;
    using fixed = dma.alloc(2 * PAGE, { iova: 0x123000n });
    expect(fixed.iova).toBe(0x123000n);
    const before = holdings();
    for (const taken of [0x123000n, 0x124000n, 0x122000n]) {
      expect(() => dma.alloc(2 * PAGE, { iova: taken }), taken.toString(16)).toThrow(refused("taken"));
    }
    for (const misaligned of [0x200800n, 1n]) {
      expect(() => dma.alloc(PAGE, { iova: misaligned })).toThrow(ArgumentError);
    }
    const beyond = (dma.iovaRanges().at(-1)?.last ?? 0n) + 1n;
    for (const reserved of [MSI_WINDOW, MSI_WINDOW - BigInt(PAGE), beyond]) {
      expect(() => dma.alloc(2 * PAGE, { iova: reserved })).toThrow(refused("reserved"));
    }
    for (const nonsense of [-1n, 2n ** 64n]) {
      expect(() => dma.alloc(PAGE, { iova: nonsense })).toThrow(ArgumentError);
    }
    expect(holdings()).toEqual(before);
    // Next to it there is room: nothing of the refused ones was kept.
    using below = dma.alloc(PAGE, { iova: 0x122000n });
    using above = dma.alloc(PAGE, { iova: 0x125000n });
    expect([below.iova, above.iova]).toEqual([0x122000n, 0x125000n]);
  });

  test("rejects invalid lengths", () => {
    using device = open();
    const before = holdings();
    for (const sizeBytes of [0, -1, Number.NaN, 0.5, Number.POSITIVE_INFINITY, 2 ** 53]) {
      expect(() => device.dma.alloc(sizeBytes), String(sizeBytes)).toThrow(ArgumentError);
    }
    expect(holdings()).toEqual(before);
  });

  test("rejects memory that the garbage collector may move or free", () => {
    using device = open();
    const before = holdings();
    for (const foreign of [new Uint8Array(PAGE), new Uint8Array(new SharedArrayBuffer(PAGE)), null]) {
      // What the type forbids and JavaScript allows.
      const memory = foreign as unknown as MappedMemory;
      expect(() => device.dma.map(memory)).toThrow(/only MappedMemory can be mapped/);
      expect(() => device.dma.map(memory)).toThrow(ArgumentError);
    }
    expect(holdings()).toEqual(before);
  });

  test("maps existing memory several times, and leaves it intact when it is closed", async () => {
    using device = open();
    using memory = MappedMemory.anonymous(2 * PAGE);
    memory.bytes.set(randomBytes(256));
    const before = pinnedKib();
    const low = device.dma.map(memory, { iova: 0x40000n });
    const again = device.dma.map(memory, { access: "write" });
    expect(again.iova).not.toBe(low.iova);
    expect(low.sizeBytes).toBe(memory.sizeBytes);
    expect(low.bytes.byteOffset).toBe(again.bytes.byteOffset);
    const edu = new Edu(device.io);
    await edu.load(low.iova, 256);
    await edu.store(again.iova + BigInt(PAGE), 256);
    expect(memory.bytes.slice(PAGE, PAGE + 256)).toEqual(memory.bytes.slice(0, 256));
    low.close();
    expect(again.closed).toBe(false);
    expect(memory.closed).toBe(false);
    again.close();
    expect(memory.bytes.some((byte) => byte !== 0)).toBe(true);
    expect(pinnedKib()).toBe(before);
  });

  test("loses a mapping when its memory is closed first", () => {
    using device = open();
    const memory = MappedMemory.anonymous(PAGE);
    const buffer = device.dma.map(memory, { iova: 0x40000n });
    memory.close();
    expect(buffer.closed).toBe(true);
    expect(() => buffer.bytes).toThrow(ClosedError);
    expect(() => device.dma.map(memory)).toThrow(ClosedError);
    using next = device.dma.alloc(PAGE, { iova: 0x40000n });
    expect(next.iova).toBe(0x40000n);
  });

  test("gives buffers that can be closed twice, and not be used afterwards", () => {
    using device = open();
    const buffer = device.dma.alloc(PAGE);
    const { bytes } = buffer;
    const view = buffer.view(16, 16);
    bytes.fill(0xaa);
    buffer.close();
    buffer.close();
    expect(buffer.closed).toBe(true);
    expect(() => buffer.bytes).toThrow(new ClosedError(buffer.lease.label));
    expect(() => buffer.view(0, 1)).toThrow(ClosedError);
    expect(buffer.memory.closed).toBe(true);
    // What a caller kept reads zero and reaches nothing.
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    view.fill(0xbb);
    using next = device.dma.alloc(PAGE);
    expect(next.bytes.every((byte) => byte === 0)).toBe(true);
  });

  test("gives views of parts of a buffer, within bounds", () => {
    using device = open();
    using buffer = device.dma.alloc(100);
    buffer.view(10, 5).fill(7);
    expect(buffer.bytes.slice(9, 16)).toEqual(Uint8Array.of(0, 7, 7, 7, 7, 7, 0));
    for (const [offset, length] of [
      [0, 101],
      [100, 1],
      [-1, 2],
      [0, 0],
      [0.5, 1],
      [Number.NaN, 1],
    ] as const) {
      expect(() => buffer.view(offset, length), `${offset} + ${length}`).toThrow(ArgumentError);
    }
  });

  test("closes its buffers when it is closed, but not memory that others own", () => {
    using device = open();
    const { dma } = device;
    const before = pinnedKib();
    using memory = MappedMemory.anonymous(PAGE);
    const buffers: DmaBuffer[] = [dma.alloc(PAGE), dma.alloc(3 * PAGE), dma.map(memory)];
    dma.close();
    dma.close();
    expect(buffers.map(({ closed }) => closed)).toEqual([true, true, true]);
    expect(memory.closed).toBe(false);
    expect(() => dma.alloc(PAGE)).toThrow(ClosedError);
    expect(() => dma.map(memory)).toThrow(ClosedError);
    expect(() => dma.iovaRanges()).toThrow(ClosedError);
    expect(() => dma.alignmentBytes()).toThrow(ClosedError);
    // The device is another matter.
    expect(device.io.info().isPci).toBe(true);
    expect(pinnedKib()).toBe(before);
  });

  test("can't be closed while a buffer is in use", () => {
    using device = open();
    const { dma } = device;
    using memory = MappedMemory.anonymous(PAGE);
    const busy = dma.map(memory);
    const idle = dma.alloc(PAGE);
    busy.bytes.fill(0x77);
    const before = holdings();
    busy.lease.hold("read command 7");
    for (const target of [busy, dma, memory, device]) {
      expect(() => target.close()).toThrow(BusyError);
      expect(() => target.close()).toThrow(/read command 7 uses it \(1 in flight\)/);
    }
    expect([busy, idle, dma, memory, device].map(({ closed }) => closed)).toEqual(Array(5).fill(false));
    expect(busy.bytes.every((byte) => byte === 0x77)).toBe(true);
    expect(device.io.info().isPci).toBe(true);
    expect(holdings()).toEqual(before);
    idle.close();
    busy.lease.drop();
    device.close();
    expect([busy, dma, memory].map(({ closed }) => closed)).toEqual([true, true, false]);
  });

  test("reports that it is full", () => {
    using device = open();
    const ranges = device.dma.iovaRanges();
    using memory = MappedMemory.anonymous(PAGE);
    // The very last page that this IOMMU translates.
    const last = iova((ranges.at(-1)?.last ?? 0n) + 1n - BigInt(PAGE));
    using end = device.dma.map(memory, { iova: last });
    expect(end.iova).toBe(last);
    expect(() => device.dma.map(memory, { iova: last })).toThrow(refused("taken"));
  });
});
