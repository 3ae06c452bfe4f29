/** The example's driver for edu on the emulated device. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Edu } from "../../../examples/drivers/edu.js";
import type { RunningEmulator } from "../../../src/emulator/worker.js";
import { PciDevice } from "../../../src/index.js";
import { eduDriverSuite } from "../../support/edu-driver-suite.js";
import { emulate } from "../../support/emulators.js";

let emulator: RunningEmulator;
beforeAll(async () => {
  emulator = await emulate({ device: "edu", options: {} });
});
afterAll(() => emulator.close());

eduDriverSuite(() => PciDevice.open(emulator.address));

describe("the driver for edu", () => {
  test("refuses another device, and leaves it as it was", async () => {
    const other = await emulate({ device: "nvme", options: { sizeBytes: 1 << 20 } });
    try {
      using device = PciDevice.open(other.address);
      expect(() => new Edu(device)).toThrow(/is no edu device$/);
      expect(device.config.busMaster).toBe(false);
    } finally {
      await other.close();
    }
  });
});
