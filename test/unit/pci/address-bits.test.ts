/** The address bits of a device, said once when it is opened. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { ArgumentError, DmaPool, MappedMemory, PciDevice } from "../../../src/index.js";
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
