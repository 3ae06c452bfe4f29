/** Lets a device enter and leave low power. */
import type { EventFd } from "../sys/eventfd.js";
import type { VfioDevice } from "./device.js";
import { callFeature, type Feature } from "./feature.js";
import {
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
  VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
  vfio_device_low_power_entry_with_wakeup,
} from "./uapi-feature.js";

const ENTRY: Feature = { id: VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, name: "low power" };
const ENTRY_WITH_WAKEUP: Feature = {
  id: VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
  name: "low power with wake-up",
};
const EXIT: Feature = { id: VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, name: "low power exit" };

/**
 * Lets the device fall asleep until {@link exitLowPower}, or until any access to it. Mapped registers must not be touched
 * meanwhile: close their mappings first (the kernel would answer with SIGBUS).
 * @param wakeup signalled when the host wakes the device for another reason, after which it stays awake
 * @throws StateError while registers are mapped, UnsupportedError, SysError: EINVAL if it is asleep already
 */
export function enterLowPower(device: VfioDevice, wakeup?: EventFd): void {
  device.assertNothingMapped("entering low power");
  if (wakeup === undefined) {
    callFeature(device, ENTRY, "set");
    return;
  }
  wakeup.lease.assertOpen();
  const payload = vfio_device_low_power_entry_with_wakeup.encode({ wakeup_eventfd: wakeup.fd });
  callFeature(device, ENTRY_WITH_WAKEUP, "set", payload);
}

/** Keeps the device awake from now on. Fine if it is. @throws UnsupportedError, SysError */
export function exitLowPower(device: VfioDevice): void {
  callFeature(device, EXIT, "set");
}
