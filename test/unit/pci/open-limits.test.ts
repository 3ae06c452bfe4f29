/** Address bits and direction of a device, said once when it is opened. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type DmaAccess,
  type DmaMapper,
  type Iova,
  type IovaRange,
  iova,
  Lease,
} from "../../../src/doors/dma.js";
import { ArgumentError, DmaPool, DmaSpace, MappedMemory, PciDevice } from "../../../src/index.js";
import { emulate } from "../../support/emulators.js";

const LIMIT = 2n ** 28n;

let emulator: Awaited<ReturnType<typeof emulate>>;
beforeAll(async () => {
  emulator = await emulate({ device: "edu", options: {} });
});
afterAll(async () => {
  await emulator.close();
});

test("memory for a device with 28 address bits lies below 2^28, however it is made", () => {
  using device = PciDevice.open(emulator.address, { addressBits: 28 });
  const { dma } = device;
  using buffer = dma.alloc(4096);
  using shared = dma.alloc(1024 * 1024, { shared: true });
  using memory = MappedMemory.memfd(8192);
  using mapped = dma.map(memory);
  using pool = new DmaPool(dma);
  for (const { iova, sizeBytes } of [buffer, shared, mapped])
    expect(iova + BigInt(sizeBytes)).toBeLessThan(LIMIT);
  expect(pool.iova(pool.alloc(256))).toBeLessThan(LIMIT);
});

test("a buffer can be told otherwise", () => {
  using device = PciDevice.open(emulator.address, { addressBits: 28 });
  using memory = MappedMemory.memfd(4096);
  using high = device.dma.map(memory, { iova: LIMIT, addressBits: 64 });
  expect(high.iova).toBe(LIMIT);
});

test.each([12, 65, 28.5, "32"])(
  "%s address bits are an ArgumentError, and nothing is opened",
  (addressBits) => {
    expect(() => PciDevice.open(emulator.address, { addressBits } as { addressBits: number })).toThrow(
      ArgumentError,
    );
    using device = PciDevice.open(emulator.address);
    expect(device.dma.backend).toBe("vfio-user");
  },
);

/** What the mapper was asked for, by each mapping. */
class Recorder implements DmaMapper {
  readonly name = "recorder";
  readonly lease = new Lease("the recorder", undefined);
  readonly accesses: DmaAccess[] = [];
  private next = 0x1000n;

  iovaRanges(): IovaRange[] {
    return [{ start: iova(0n), last: iova(2n ** 32n - 1n) }];
  }

  alignmentBytes(): number {
    return 4096;
  }

  map(_address: number, sizeBytes: number, access: DmaAccess): Iova {
    this.accesses.push(access);
    this.next += BigInt(sizeBytes);
    return iova(this.next - BigInt(sizeBytes));
  }

  unmap(): void {}
}

test("memory of a device that only reads can't be written by it, unless a buffer says otherwise", () => {
  const mapper = new Recorder();
  using space = new DmaSpace(mapper);
  space.admit("read");
  using _buffer = space.alloc(4096);
  using memory = MappedMemory.anonymous(4096);
  using _mapped = space.map(memory);
  using pool = new DmaPool(space);
  pool.alloc(64);
  using _written = space.alloc(4096, { access: "write" });
  expect(mapper.accesses).toEqual(["read", "read", "read", "write"]);
});

test("devices of one space are granted what one of them needs", () => {
  const mapper = new Recorder();
  using space = new DmaSpace(mapper);
  space.admit("write");
  using _one = space.alloc(4096);
  space.admit("read");
  using _two = space.alloc(4096);
  space.admit("write");
  using _three = space.alloc(4096);
  expect(mapper.accesses).toEqual(["write", "read-write", "read-write"]);
});

test("the server of a device that only reads is shown memory that it can't write", () => {
  using device = PciDevice.open(emulator.address, { access: "read", addressBits: 28 });
  using buffer = device.dma.alloc(4096, { shared: true });
  expect(buffer.iova).toBeLessThan(LIMIT);
  expect(() => PciDevice.open(emulator.address, { access: "none" as "read" })).toThrow(
    'access must be "read-write", "read" or "write"',
  );
});
