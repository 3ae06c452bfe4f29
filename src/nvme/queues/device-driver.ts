/** Which of this library's drivers a device has: two of them would write to the same registers. */
import { StateError } from "../../core/errors.js";
import type { PciDevice } from "../../pci/device.js";

/** A driver's use of a device. Holds no device, so that a forgotten one can be found. */
export interface DeviceUse {
  /** How an error message names the driver. */
  readonly driver: string;
  ended: boolean;
}

const uses = new WeakMap<PciDevice, DeviceUse>();

/**
 * Notes that a driver begins to use a device. It sets `ended` when it leaves a device that stays open.
 * @throws StateError if the device has a driver
 */
export function driveDevice(device: PciDevice, driver: string): DeviceUse {
  const present = uses.get(device);
  if (present?.ended === false)
    throw new StateError(
      `${device.bdf} already has ${present.driver}: close it first, or open another device`,
    );
  const use = { driver, ended: false };
  uses.set(device, use);
  return use;
}
