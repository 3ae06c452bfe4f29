/** Where sysfs has a PCI function. */
import { join } from "node:path";
import { ArgumentError } from "../../core/errors.js";
import { kernelText } from "../../sys/kernel-files.js";
import { parseBdf } from "./bdf.js";

/** The folder of all functions. */
export const DEVICES = "/sys/bus/pci/devices";

/** Path of a function in sysfs. @throws ArgumentError: malformed, or no such device */
export function devicePath(bdf: string): string {
  const path = join(DEVICES, parseBdf(bdf));
  if (kernelText(join(path, "vendor")) === undefined) throw noSuchDevice(bdf);
  return path;
}

/** @param bdf an address that no function has */
export function noSuchDevice(bdf: string): ArgumentError {
  return new ArgumentError(`there is no PCI device ${bdf}`);
}
