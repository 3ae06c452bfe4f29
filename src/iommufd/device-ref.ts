/** What iommufd has to know of a device. */
import type { Lease } from "../core/lifetime/lease.js";
import type { BindTarget } from "../vfio/device.js";

/** A device bound to an iommufd, as the other objects name it. `VfioDevice` is one after bind(). */
export interface BoundDevice {
  /** Its object id in the iommufd. */
  readonly deviceId: number;
  /** The iommufd it is bound to. */
  readonly iommufd: BindTarget;
  /** The device's lifetime. What is made for the device ends with it. */
  readonly lease: Lease;
}
