/** The network controllers of the machine "igb" (test/machines.ts): two that are joined, and two to be taken out. */
import { existsSync } from "node:fs";
import { listPciFunctions } from "../../src/pci/sysfs.js";

/** The 82576 behind the root port in a slot of bus 0. */
export function igbBehind(slot: string): { port: string; bdf: string } {
  const port = `0000:00:${slot}`;
  const found = listPciFunctions().find(
    ({ bdf, deviceId }) => deviceId === 0x10c9 && existsSync(`/sys/bus/pci/devices/${port}/${bdf}`),
  );
  if (found === undefined) throw new Error(`this machine has no 82576 behind ${port}`);
  return { port, bdf: found.bdf };
}

export const leftIgbBdf = (): string => igbBehind("10.0").bdf;
export const rightIgbBdf = (): string => igbBehind("11.0").bdf;
