/** The part of a device that iommufd uses. */
import { checkLeased, type Lease } from "../core/lifetime/lease.js";
import type { BindTarget } from "../vfio/device.js";

/** A device that is bound to an iommufd, such as a `VfioDevice` after bind(). */
export interface BoundDevice {
  /** The device's object id in the iommufd. */
  readonly deviceId: number;
  /** The iommufd that the device is bound to. */
  readonly iommufd: BindTarget;
  /** The device's lifetime. Objects for the device end with it. */
  readonly lease: Lease;
}

/** @throws ArgumentError, ClosedError, and StateError before the device is bound */
export function checkBoundDevice(device: BoundDevice): void {
  checkLeased("device", device, "a device that is bound to an iommufd");
  device.lease.assertOpen();
  checkLeased("device.iommufd", device.iommufd, "an Iommufd", { fd: "number" });
}
