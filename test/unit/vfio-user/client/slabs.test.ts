/** Buffers over vfio-user share few mappings: servers that take 64, 16 or fewer. */
import { fstatSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { EmulatedEdu } from "../../../../src/emulator/edu/device.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import {
  ArgumentError,
  type DmaBuffer,
  IovaSpaceError,
  MappedMemory,
  PciDevice,
  UnsupportedError,
} from "../../../../src/index.js";
import { VfioUserClient } from "../../../../src/vfio-user/client/client.js";
import { Command, DMA_READ, dmaMap } from "../../../../src/vfio-user/protocol/protocol.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { Edu } from "../../../support/edu.js";
import { compileEmulators, emulate, socketPath } from "../../../support/emulators.js";
import { RawServer } from "../../../support/raw-vfio-user.js";

const PAGE = 4096;
const SLAB = 2 * 1024 * 1024;

let emulator: RunningEmulator | undefined;
let device: PciDevice;

beforeAll(() => void compileEmulators());
afterEach(async () => {
  vi.restoreAllMocks();
  device.close();
  kept.length = 0;
  await emulator?.close();
  emulator = undefined;
});

/** Buffers that stay open until the device closes. */
const kept: DmaBuffer[] = [];
function keep(buffer: DmaBuffer): DmaBuffer {
  kept.push(buffer);
  return buffer;
}

/** Opens a device behind a server that takes this many mappings. */
async function open(maxDmaMaps: number): Promise<void> {
  emulator = await emulate({ device: "edu", options: {}, server: { maxDmaMaps } });
  device = PciDevice.open(emulator.address);
}

/** What is sent from now on. */
function watch(): { maps(): { addr: bigint; size: bigint; flags: number }[]; unmaps(): number } {
  const { calls } = vi.spyOn(VfioUserClient.prototype, "request").mock;
  return {
    maps: () =>
      calls
        .filter(([command]) => command === Command.dmaMap)
        .map(([, parts]) => dmaMap.decode(parts?.[0] ?? new Uint8Array(0))),
    unmaps: () => calls.filter(([command]) => command === Command.dmaUnmap).length,
  };
}

/** Numbers below `limit`, the same at each run. */
function dice(): (limit: number) => number {
  let state = 12345;
  return (limit) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

function isUntouched({ bytes }: DmaBuffer, value: number): boolean {
  return bytes[0] === value && bytes.at(-1) === value;
}

describe("many buffers", () => {
  test.each([16, 64])("500 buffers work with a server that takes %i mappings", async (maxDmaMaps) => {
    await open(maxDmaMaps);
    const sent = watch();
    const roll = dice();
    const live = Array.from({ length: 500 }, (_, i) => {
      const buffer = device.dma.alloc(1 + roll(16 * PAGE));
      expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
      buffer.bytes.fill(1 + (i % 255));
      return { buffer, value: 1 + (i % 255) };
    });
    expect(sent.maps().length).toBeLessThanOrEqual(16);

    const ranges = live
      .map(({ buffer }) => ({ start: buffer.iova, end: buffer.iova + BigInt(buffer.memory.sizeBytes) }))
      .sort((a, b) => (a.start < b.start ? -1 : 1));
    expect(ranges.every(({ end }, i) => end <= (ranges[i + 1]?.start ?? end))).toBe(true);

    // The device finds each buffer where its address says.
    const edu = new Edu(device.io);
    for (const { buffer, value } of [live[0], live[250], live[499]].filter((each) => each !== undefined)) {
      await edu.load(buffer.iova, 1);
      using copy = device.dma.alloc(1);
      await edu.store(copy.iova, 1);
      expect(copy.bytes[0]).toBe(value);
    }

    while (live.length > 0) {
      const [gone] = live.splice(roll(live.length), 1);
      gone?.buffer.close();
      expect(live.every(({ buffer, value }) => isUntouched(buffer, value))).toBe(true);
    }
    // One empty mapping stays.
    expect(sent.maps().length - sent.unmaps()).toBe(1);
  });

  test("memory that is used again is zeroed", async () => {
    await open(16);
    const first = device.dma.alloc(3 * PAGE);
    first.bytes.fill(0xff);
    const { iova } = first;
    first.close();
    using second = device.dma.alloc(5 * PAGE);
    expect(second.iova).toBe(iova);
    expect(second.bytes.every((byte) => byte === 0)).toBe(true);
  });

  test("closing and allocating a buffer again and again sends no messages", async () => {
    await open(16);
    device.dma.alloc(PAGE).close();
    const sent = watch();
    for (let i = 0; i < 10; i++) device.dma.alloc(PAGE).close();
    expect([sent.maps().length, sent.unmaps()]).toEqual([0, 0]);
  });

  test("a view of a closed buffer doesn't see the buffer that comes after", async () => {
    await open(16);
    const first = device.dma.alloc(PAGE);
    const view = first.bytes;
    first.close();
    using second = device.dma.alloc(PAGE);
    second.bytes.fill(7);
    expect(view[0]).toBe(0);
  });

  test("a large buffer is given back to the system when it is closed", async () => {
    await open(16);
    const sent = watch();
    device.dma.alloc(10 * SLAB).close();
    expect([sent.maps().map(({ size }) => size), sent.unmaps()]).toEqual([[BigInt(10 * SLAB)], 1]);
  });
});

describe("placement", () => {
  test("buffers for one direction share a mapping that allows only that", async () => {
    await open(16);
    const sent = watch();
    for (let i = 0; i < 100; i++) keep(device.dma.alloc(PAGE, { access: "read" }));
    expect(sent.maps().map(({ flags }) => flags)).toEqual([DMA_READ]);
    using writable = device.dma.alloc(PAGE);
    expect(sent.maps()).toHaveLength(2);
    expect(writable.iova % BigInt(PAGE)).toBe(0n);
  });

  test("buffers for a device of few address bits lie below its limit", async () => {
    await open(16);
    const sent = watch();
    keep(device.dma.alloc(PAGE));
    for (let i = 0; i < 100; i++) {
      const { iova, sizeBytes } = keep(device.dma.alloc(16 * PAGE, { addressBits: 24 }));
      expect(iova + BigInt(sizeBytes)).toBeLessThanOrEqual(2n ** 24n);
    }
    expect(sent.maps().length).toBeLessThanOrEqual(5);
  });

  test("an address below the smallest shared mapping gets a mapping of its own", async () => {
    await open(16);
    const { iova } = keep(device.dma.alloc(PAGE, { addressBits: 16 }));
    expect(iova).toBeLessThan(2n ** 16n);
  });

  test("a buffer is aligned as asked", async () => {
    await open(16);
    keep(device.dma.alloc(PAGE));
    for (const iovaAlignBytes of [2 * PAGE, 16 * PAGE, SLAB, 8 * SLAB]) {
      expect(keep(device.dma.alloc(PAGE, { iovaAlignBytes })).iova % BigInt(iovaAlignBytes)).toBe(0n);
    }
  });

  test("a fixed address works inside a shared mapping, outside of all, and where an empty one is", async () => {
    await open(16);
    const { iova } = keep(device.dma.alloc(PAGE));
    const near = iova + BigInt(5 * PAGE);
    using inside = device.dma.alloc(2 * PAGE, { iova: near });
    expect(inside.iova).toBe(near);
    expect(() => device.dma.alloc(PAGE, { iova: near + BigInt(PAGE) })).toThrow(IovaSpaceError);
    using outside = device.dma.alloc(PAGE, { iova: 0x7000_0000n });
    expect(outside.iova).toBe(0x7000_0000n);
    using memory = MappedMemory.memfd(PAGE);
    expect(() => device.dma.map(memory, { iova: near })).toThrow(IovaSpaceError);
  });

  test("memory can be mapped where an empty shared mapping was", async () => {
    await open(16);
    const buffer = device.dma.alloc(PAGE);
    const { iova } = buffer;
    buffer.close();
    using memory = MappedMemory.memfd(PAGE);
    using mapped = device.dma.map(memory, { iova });
    expect(mapped.iova).toBe(iova);
  });

  test("a shared buffer has a file of its own", async () => {
    await open(16);
    using buffer = device.dma.alloc(3 * PAGE, { shared: true });
    expect(fstatSync(buffer.memory.fd).size).toBe(3 * PAGE);
  });
});

describe("the limit of mappings", () => {
  const memories: MappedMemory[] = [];
  afterEach(() => {
    for (const memory of memories.splice(0)) memory.close();
  });

  function map(): DmaBuffer {
    const memory = MappedMemory.memfd(PAGE);
    memories.push(memory);
    return keep(device.dma.map(memory));
  }

  test("causes an error that names the limit and says what to do", async () => {
    await open(4);
    // Stays mapped, and gives way.
    device.dma.alloc(PAGE).close();
    const mapped = Array.from({ length: 4 }, map);
    expect(map).toThrow(UnsupportedError);
    expect(map).toThrow(/takes at most 4 DMA mappings, and all are in use: close memory .* alloc\(\)/);
    expect(() => device.dma.alloc(PAGE)).toThrow(/at most 4 DMA mappings/);
    mapped[2]?.close();
    using buffer = device.dma.alloc(PAGE);
    await new Edu(device.io).load(buffer.iova, 8);
  });

  describe("that the server didn't state", () => {
    let server: RawServer;
    beforeAll(async () => {
      server = await RawServer.start();
    });
    afterAll(() => server.close());

    test("causes the server's error with a hint", async () => {
      await server.tell();
      device = PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: 2000 } });
      for (let i = 0; i < 10; i++) map();
      await server.tell({ command: Command.dmaMap, errno: Errno.EINVAL, flags: 0x21 });
      expect(map).toThrow(/EINVAL.*no more than the 10 mappings that it has: close memory/);
    });
  });

  test("has to be from 1 to 65535 in the server's options", () => {
    for (const maxDmaMaps of [0, 65_536, 1.5]) {
      const make = () => new VfioUserServer(socketPath(), new EmulatedEdu(), { maxDmaMaps });
      expect(make).toThrow(ArgumentError);
    }
  });
});
