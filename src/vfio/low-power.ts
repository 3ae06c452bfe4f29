/** Lets a device enter and leave low power. */
import { checkMembers } from "../core/check.js";
import { checkLeased } from "../core/lifetime/lease.js";
import type { EventFd } from "../sys/eventfd.js";
import type { VfioDevice } from "./device.js";
import { callFeature, type Feature } from "./feature.js";
import { checkUsable } from "./feature-target.js";
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
 * Lets the device enter low power until {@link exitLowPower} or any access. Close mappings of its registers first: an access
 * to them would kill the process (SIGBUS).
 * @param wakeup signalled when the host wakes the device for another reason; the device then stays awake
 * @throws ArgumentError, StateError while registers are mapped, UnsupportedError, SysError: EINVAL if it is in low power already
 */
export function enterLowPower(device: VfioDevice, wakeup?: EventFd): void {
  checkUsable(device);
  checkMembers("device", device, "an open VfioDevice", { assertNothingMapped: "function" });
  device.assertNothingMapped("entering low power");
  if (wakeup === undefined) {
    callFeature(device, ENTRY, "set");
    return;
  }
  checkLeased("wakeup", wakeup, "an EventFd", { fd: "number" });
  wakeup.lease.assertOpen();
  const payload = vfio_device_low_power_entry_with_wakeup.encode({ wakeup_eventfd: wakeup.fd });
  callFeature(device, ENTRY_WITH_WAKEUP, "set", payload);
}

/** Wakes the device and keeps it awake. Does nothing if it is awake. @throws UnsupportedError, SysError */
export function exitLowPower(device: VfioDevice): void {
  callFeature(device, EXIT, "set");
}
