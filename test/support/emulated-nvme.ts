/** A driver and its emulated controller, both closed after the test. */
import { afterEach, beforeAll } from "vitest";
import type { NvmeEmulatorOptions } from "../../src/emulator/nvme/options.js";
import type { RunningEmulator } from "../../src/emulator/worker.js";
import { NvmeController, type NvmeOptions } from "../../src/index.js";
import { emulate } from "./emulators.js";

export const MIB = 1024 * 1024;

const open: { close(): Promise<void> }[] = [];

/** Call it once per test file: prepares the emulator, and closes everything after each test. */
export function useEmulatedNvme(): void {
  beforeAll(async () => {
    // Compiles the emulator's program.
    const running = await emulate({ device: "nvme", options: { sizeBytes: MIB } });
    await running.close();
  });
  afterEach(async () => {
    for (const each of open.splice(0).reverse()) await each.close();
  });
}

/** Starts an emulated controller. */
export async function startController(
  options: NvmeEmulatorOptions = {},
  socket?: string,
): Promise<RunningEmulator> {
  const where = socket === undefined ? {} : { socket };
  const running = await emulate({ device: "nvme", options: { sizeBytes: 16 * MIB, ...options }, ...where });
  open.push(running);
  return running;
}

/** Opens the emulated controller `started`, or starts one. */
export async function openController(
  emulator: NvmeEmulatorOptions = {},
  options: NvmeOptions = {},
  started?: RunningEmulator,
): Promise<NvmeController> {
  const running = started ?? (await startController(emulator));
  const nvme = await NvmeController.open(running.address, options);
  open.push(nvme);
  return nvme;
}

/** Has this closed after the test as well. */
export function alsoClose<T extends { close(): Promise<void> }>(closeable: T): T {
  open.push(closeable);
  return closeable;
}
