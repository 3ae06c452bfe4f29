/** An emulated edu and a device opened on it, new for each test and closed after it. */
import { afterEach, beforeEach } from "vitest";
import type { RunningEmulator } from "../../src/emulator/worker.js";
import { PciDevice } from "../../src/index.js";
import { emulate } from "./emulators.js";

interface EmulatedEdu {
  readonly emulator: RunningEmulator;
  readonly device: PciDevice;
}

/** Call it once per suite. @param take receives the emulator and the device before each test */
export function useEmulatedEdu(take: (made: EmulatedEdu) => void): void {
  let made: EmulatedEdu;
  beforeEach(async () => {
    const emulator = await emulate({ device: "edu", options: {} });
    made = { emulator, device: PciDevice.open(emulator.address) };
    take(made);
  });
  afterEach(async () => {
    made.device.close();
    await made.emulator.close();
  });
}
