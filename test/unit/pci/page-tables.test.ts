/** Page tables of a program's own, where the backend has none to choose. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevicePageTables } from "../../../src/doors/iommufd.js";
import { ArgumentError, ClosedError, PciDevice, UnsupportedError } from "../../../src/index.js";
import { emulate } from "../../support/emulators.js";

let emulator: Awaited<ReturnType<typeof emulate>>;
beforeAll(async () => {
  emulator = await emulate({ device: "edu", options: {} });
});
afterAll(async () => {
  await emulator.close();
});

test("a device over vfio-user has no page tables to choose, and says which backend has", () => {
  using device = PciDevice.open(emulator.address);
  expect(() => device.pageTables).toThrow(UnsupportedError);
  expect(() => device.pageTables).toThrow("open it through iommufd");
  device.close();
  expect(() => device.pageTables).toThrow(ClosedError);
});

test("tables are made for a bound device and a space on iommufd only", () => {
  using device = PciDevice.open(emulator.address);
  const { dma, lease } = device;
  expect(() => Reflect.construct(DevicePageTables, [undefined, dma])).toThrow(ArgumentError);
  expect(() => Reflect.construct(DevicePageTables, [device, dma])).toThrow(ArgumentError);
  const bound = { deviceId: 1, iommufd: { fd: 0, lease }, lease, attach: () => 0, detach: () => {} };
  expect(() => Reflect.construct(DevicePageTables, [bound, {}])).toThrow("space must be a DmaSpace");
  expect(() => new DevicePageTables(bound, dma)).toThrow("only iommufd has them");
});
