/** VfioUserServer refuses a device that can't exist when it is made. */
import { expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import type { EmulatedBar, EmulatedDevice } from "../../../../src/vfio-user/server/emulated-device.js";
import {
  initialConfigSpace,
  type MsixOptions,
} from "../../../../src/vfio-user/server/initial-config-space.js";
import { memoryBar } from "../../../../src/vfio-user/server/memory-bar.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { socketPath } from "../../../support/emulators.js";

const bar = (sizeBytes: number, more: Partial<EmulatedBar> = {}): EmulatedBar => ({
  ...{ sizeBytes, read: () => undefined, write: () => undefined },
  ...more,
});

function serve(
  bars: readonly (EmulatedBar | undefined)[],
  msix?: MsixOptions,
  vectors: Partial<EmulatedDevice["vectors"]> = {},
): void {
  const device: EmulatedDevice = {
    name: "timer",
    configSpace: initialConfigSpace({
      vendorId: 0x1234,
      deviceId: 1,
      ...(msix === undefined ? {} : { msix }),
    }),
    bars,
    vectors: { ...{ intx: 1, msi: 1, msix: msix?.vectors ?? 0 }, ...vectors },
    connect: () => undefined,
    disconnect: () => undefined,
    reset: () => undefined,
    close: () => undefined,
  };
  new VfioUserServer(socketPath(), device).close();
}

test.each<[string, () => void, string]>([
  [
    "without the BAR that is to hold MSI-X's table",
    () => serve([bar(4096)], { vectors: 16, bar: 1 }),
    "MSI-X's table (256 bytes for 16 vectors at offset 0) must be in a memory BAR, but there is no BAR 1",
  ],
  [
    "with MSI-X's table in an I/O BAR",
    () => serve([bar(4096, { isIo: true })], { vectors: 16, bar: 0 }),
    "must be in a memory BAR, but BAR 0 is I/O",
  ],
  [
    "with a BAR that is too small for MSI-X's table",
    () => serve([undefined, memoryBar(128)], { vectors: 16, bar: 1, pendingOffset: 0 }),
    "MSI-X's table (256 bytes for 16 vectors at offset 0) must lie in BAR 1, which has 128 bytes",
  ],
  [
    "with a BAR that is too small for MSI-X's pending bits",
    () => serve([undefined, memoryBar(256)], { vectors: 16, bar: 1 }),
    "MSI-X's pending bits (8 bytes for 16 vectors at offset 256) must lie in BAR 1",
  ],
  [
    "whose MSI-X table and pending bits overlap",
    () => serve([memoryBar(4096)], { vectors: 16, bar: 0, pendingOffset: 248 }),
    "MSI-X's table (at offset 0) and pending bits (at 248) overlap in BAR 0",
  ],
  [
    "whose pending bits reach into the table behind them",
    () => serve([memoryBar(4096)], { vectors: 65, bar: 0, tableOffset: 8, pendingOffset: 0 }),
    "overlap in BAR 0",
  ],
  [
    "with a BAR of no power of 2",
    () => serve([bar(1000)]),
    "device.bars[0].sizeBytes must be a power of two, got 1000",
  ],
  [
    "with a BAR that is too small",
    () => serve([bar(8)]),
    "device.bars[0].sizeBytes must be a whole number from 16",
  ],
  [
    "with a BAR of 32 bits that has 4 GiB",
    () => serve([bar(2 ** 32)]),
    "device.bars[0].sizeBytes must be a whole number from 16 to 2147483648",
  ],
  [
    "with something in the register of a 64-bit BAR's upper half",
    () => serve([bar(16, { is64Bit: true }), bar(16)]),
    "device.bars[0] has 64 bits and takes two registers",
  ],
  [
    "with a 64-bit BAR in the last register",
    () => serve([...new Array(5), bar(16, { is64Bit: true })]),
    "device.bars[5]",
  ],
  [
    "with seven BARs",
    () => serve(new Array(7).fill(undefined)),
    "device.bars must have at most 6 entries, got 7",
  ],
  [
    "with a BAR that can't be read",
    () => serve([{ sizeBytes: 16 } as EmulatedBar]),
    "must be an EmulatedBar",
  ],
  [
    "with two pins",
    () => serve([], undefined, { intx: 2 }),
    "device.vectors.intx must be a whole number from 0 to 1",
  ],
  [
    "with three vectors of MSI",
    () => serve([], undefined, { msi: 3 }),
    "device.vectors.msi must be a power of two",
  ],
])("a device %s is refused with an ArgumentError", (_what, make, words) => {
  expect(make).toThrow(ArgumentError);
  expect(make).toThrow(words);
});

test("a device whose MSI-X table and pending bits lie side by side, or in two BARs, is served", () => {
  serve([memoryBar(512)], { vectors: 16, bar: 0 });
  serve([memoryBar(2048)], { vectors: 65, bar: 0, tableOffset: 16, pendingOffset: 0 });
  serve([bar(4, { isIo: true }), memoryBar(16), bar(2 ** 33, { is64Bit: true })]);
});
