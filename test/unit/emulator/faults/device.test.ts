/** A served device with faults, as its host and its clients see it. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DeviceFaults, type EmulatedDevice } from "../../../../src/doors/emulator.js";
import { reg32, registerBlock } from "../../../../src/doors/pci.js";
import { ArgumentError, BusyError, ConfigError } from "../../../../src/index.js";
import { MappedMemory } from "../../../../src/sys/memory.js";
import type { MemorySpan } from "../../../../src/vfio-user/server/emulated-device.js";
import { TestMemory } from "../../../support/nvme-host.js";
import { TestFunction } from "../../../support/test-function.js";

const Block = registerBlock("test function", { first: reg32(0x00), second: reg32(0x04) });
const IOVA = 0x10000;
const PAGE = 4096;

let inner: TestFunction;
let faults: DeviceFaults<typeof Block.registers>;
let device: EmulatedDevice;
let pages: MappedMemory;
const memory = new TestMemory();
const raised: string[] = [];
let hangUps = 0;

beforeEach(() => {
  inner = new TestFunction();
  faults = new DeviceFaults(Block);
  device = faults.device(inner);
  pages = MappedMemory.anonymous(2 * PAGE);
  memory.map(IOVA, pages);
  raised.length = 0;
  hangUps = 0;
  connect();
});
afterEach(() => {
  device.disconnect();
  device.close();
  memory.unmap(IOVA);
  pages.close();
});

function connect(): void {
  device.connect({
    memory,
    raise: (vector, kind = "msix") => raised.push(`${kind} ${vector}`),
    disconnect: () => {
      hangUps++;
      device.disconnect();
    },
  });
}

function read(offset: number): number[] {
  const target = new Uint8Array(4);
  device.bars[0]?.read(offset, target);
  return [...target];
}

function span(): MemorySpan {
  const nothing = new SharedArrayBuffer(0);
  return { bytes: new Uint8Array(nothing), words: new Uint32Array(nothing), offset: 0 };
}

describe("a device with faults", () => {
  test("is the device, except that its BARs can't be mapped", () => {
    expect(device).toMatchObject({ name: "test function", vectors: inner.vectors });
    expect(device.configSpace).toBe(inner.configSpace);
    expect(inner.bars[0]?.mappable).toHaveLength(1);
    expect(device.bars[0]).toMatchObject({ sizeBytes: 16384, isIo: false });
    expect(device.bars[0]?.mappable).toBeUndefined();
    device.bars[0]?.write(4, Uint8Array.of(1, 2, 3, 4));
    expect(read(4)).toEqual([1, 2, 3, 4]);
    device.reset();
    expect(inner.counts).toEqual({ connects: 1, disconnects: 0, resets: 1 });
    expect(() => faults.device(inner)).toThrow(BusyError);
    for (const wrong of [[Block, { bars: 1 }], [null], [{}]])
      expect(() => Reflect.construct(DeviceFaults, wrong)).toThrow(ArgumentError);
    const other = new DeviceFaults(Block);
    for (const wrong of [null, {}]) {
      expect(() => Reflect.apply(other.device, other, [wrong])).toThrow(ArgumentError);
    }
    expect(() => Reflect.apply(other.access, other, [null])).toThrow(ArgumentError);
    expect(() => Reflect.apply(device.connect, device, [null])).toThrow(ArgumentError);
  });

  test("reads all ones in the registers that an access touches, and in no others", () => {
    faults.inject({ kind: "all-ones", where: "second" });
    const wide = new Uint8Array(8);
    device.bars[0]?.read(0, wide);
    expect([...wide]).toEqual([0, 0, 0, 0, 255, 255, 255, 255]);
    expect(read(8)).toEqual([0, 0, 0, 0]);
    const half = new Uint8Array(2);
    device.bars[0]?.read(6, half);
    expect([...half]).toEqual([255, 255]);
  });

  test("isn't asked what its registers hold where all ones cover an access", () => {
    faults.inject({ kind: "all-ones", where: "first" });
    read(0);
    expect(inner.accesses).toEqual([]);
  });

  test("lets its client go when it is removed, and knows the next one when it is back", () => {
    const removed = faults.inject({ kind: "remove" });
    expect(hangUps).toBe(1);
    expect(inner.counts).toMatchObject({ connects: 1, disconnects: 1 });
    connect();
    const id = new Uint8Array(2);
    device.readConfig?.(0, id);
    expect([read(0), [...id]]).toEqual([
      [255, 255, 255, 255],
      [255, 255],
    ]);
    device.reset();
    expect(inner.counts).toMatchObject({ connects: 1, resets: 0 });
    removed.remove();
    expect(inner.counts).toMatchObject({ connects: 2 });
    expect(read(0)).toEqual([0, 0, 0, 0]);
    device.disconnect();
    expect(inner.counts).toMatchObject({ disconnects: 2 });
  });

  test("garbles the bytes of configuration space that are asked for, the same at each read", () => {
    faults.inject({ kind: "config-garbage", offset: 2, bytes: 2, seed: 7 });
    const read = (): number[] => {
      const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6);
      device.readConfig?.(0, bytes);
      return [...bytes];
    };
    const first = read();
    expect(read()).toEqual(first);
    expect([first.slice(0, 2), first.slice(4)]).toEqual([
      [1, 2],
      [5, 6],
    ]);
    expect(first.slice(2, 4)).not.toEqual([3, 4]);
  });
});

describe("interrupts of a device with faults", () => {
  test("are lost by vector, and an interrupt that is raised in two ways counts once", async () => {
    faults.inject({ kind: "interrupt-lost", vector: 1, nth: 2 });
    for (let i = 0; i < 3; i++) {
      inner.host?.raise(1, "msi");
      inner.host?.raise(1, "msix");
      inner.host?.raise(0, "intx");
      await Promise.resolve();
    }
    expect(raised).toEqual(["msi 1", "msix 1", "intx 0", "intx 0", "msi 1", "msix 1", "intx 0"]);
  });

  test("in faults are those that the device has, whether the fault or the device comes first", () => {
    expect(() => faults.inject({ kind: "interrupt-unasked", vector: 4 })).toThrow(ConfigError);
    expect(() => faults.inject({ kind: "interrupt-lost", vector: 99 })).toThrow(
      'fault interrupt-lost: vector: the device has vectors 0 to 3 of "msix", vectors 0 to 3 of "msi", vector 0 of "intx", got 99',
    );
    faults.inject({ kind: "interrupt-lost", vector: 3 });
    const early = new DeviceFaults(Block);
    const wrong = early.inject({ kind: "interrupt-latency", vector: 4 });
    const other = new TestFunction();
    expect(() => early.device(other)).toThrow("got 4");
    wrong.remove();
    early.device(other).close();
  });

  test("that the device lacks are an ArgumentError, also where a fault would lose them", () => {
    faults.inject({ kind: "interrupt-lost" });
    expect(() => inner.host?.raise(4)).toThrow(ArgumentError);
    expect(() => inner.host?.raise(1, "intx")).toThrow('no interrupt 1 of "intx"');
  });

  test("come later, and not to the next client", () => {
    vi.useFakeTimers();
    try {
      faults.inject({ kind: "interrupt-latency", latencyMs: 100 });
      inner.host?.raise(2);
      vi.advanceTimersByTime(99);
      expect(raised).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(raised).toEqual(["msix 2"]);
      inner.host?.raise(3);
      device.disconnect();
      connect();
      vi.advanceTimersByTime(1000);
      expect(raised).toEqual(["msix 2"]);
    } finally {
      vi.useRealTimers();
    }
  });

  test("come unasked in each way that the device has", () => {
    faults.inject({ kind: "interrupt-unasked", vector: 3 });
    expect(raised).toEqual(["msix 3", "msi 3"]);
    faults.inject({ kind: "interrupt-unasked", where: "first", nth: 2 });
    read(0);
    expect(raised).toHaveLength(2);
    read(0);
    expect(raised.slice(2)).toEqual(["msix 0", "msi 0", "intx 0"]);
  });

  test("storm in each turn of the event loop, also for the next client, until the fault is removed", async () => {
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    const storm = faults.inject({ kind: "interrupt-storm" });
    for (let i = 0; i < 5; i++) await turn();
    expect(raised.length).toBeGreaterThan(9);
    device.disconnect();
    await turn();
    raised.length = 0;
    await turn();
    expect(raised).toEqual([]);
    connect();
    await turn();
    expect(raised.length).toBeGreaterThan(2);
    storm.remove();
    await turn();
    raised.length = 0;
    await turn();
    expect(raised).toEqual([]);
  });
});

describe("transfers of a device with faults", () => {
  test("are lost: what the device writes doesn't arrive, and it reads zeros", async () => {
    const dma = inner.host?.memory;
    if (dma === undefined) throw new Error("no client");
    pages.bytes.fill(7);
    faults.inject({ kind: "dma-lost" });
    const found = span();
    expect(dma.find(IOVA, 8, true, found)).toBe(true);
    found.bytes.fill(1);
    await dma.write(IOVA, Uint8Array.of(1));
    expect(dma.copyTo(IOVA, Uint8Array.of(1))).toBe(true);
    expect(pages.bytes[0]).toBe(7);
    const target = Uint8Array.of(9, 9);
    await dma.read(IOVA, target);
    expect([...target]).toEqual([0, 0]);
    // An address as a register holds it.
    await dma.read(BigInt(IOVA), target.fill(9));
    expect([...target]).toEqual([0, 0]);
    expect(dma.copyFrom(IOVA, target.fill(9))).toBe(true);
    expect([...target]).toEqual([0, 0]);
    // Also where nothing is mapped.
    expect(dma.canCopy(0, 8, false)).toBe(true);
  });

  test("go to another address in one direction, and fail where nothing is mapped", async () => {
    const dma = inner.host?.memory;
    if (dma === undefined) throw new Error("no client");
    faults.inject({ kind: "dma-wrong-address", direction: "write", deltaBytes: PAGE });
    expect(dma.copyTo(BigInt(IOVA), Uint8Array.of(5))).toBe(true);
    await expect(dma.write(IOVA, Uint8Array.of(6))).rejects.toThrow("without a descriptor");
    expect([pages.bytes[0], pages.bytes[PAGE]]).toEqual([0, 5]);
    expect(dma.find(IOVA + PAGE, 8, true, span())).toBe(false);
    expect(dma.canCopy(IOVA + PAGE, 8, true)).toBe(false);
    expect(dma.copyTo(IOVA + PAGE, new Uint8Array(8))).toBe(false);
    expect(dma.find(IOVA + PAGE, 8, false, span())).toBe(true);
    expect(dma.copyFrom(IOVA, new Uint8Array(8))).toBe(true);
  });

  test("count once, although a device looks for memory before it copies", async () => {
    const dma = inner.host?.memory;
    if (dma === undefined) throw new Error("no client");
    const before = dma.generation;
    const lost = faults.inject({ kind: "dma-lost", nth: 2 });
    expect(dma.generation).toBeGreaterThan(before);
    for (let i = 0; i < 3; i++) {
      expect(dma.canCopy(IOVA + i, 1, true)).toBe(true);
      dma.copyTo(IOVA + i, Uint8Array.of(i + 1));
    }
    expect([...pages.bytes.subarray(0, 3)]).toEqual([1, 0, 3]);
    expect(lost.hits).toBe(1);
    lost.remove();
    expect(dma.copyFrom(IOVA, new Uint8Array(1))).toBe(true);
  });
});
