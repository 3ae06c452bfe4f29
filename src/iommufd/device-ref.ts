/** The part of a device that iommufd uses. */
import { checkLeased, type Lease } from "../core/lifetime/lease.js";
import type { BindTarget, PageTable } from "../vfio/device.js";

/** A device that is bound to an iommufd, such as a `VfioDevice` after bind(). */
export interface BoundDevice {
  /** The device's object id in the iommufd. */
  readonly deviceId: number;
  /** The iommufd that the device is bound to. */
  readonly iommufd: BindTarget;
  /** The device's lifetime. Objects for the device end with it. */
  readonly lease: Lease;
}

/** A bound device that can be attached to page tables, such as a `VfioDevice` after bind(). */
export interface AttachableDevice extends BoundDevice {
  /** As `VfioDevice.attach()`. */
  attach(pageTable: PageTable, options?: { readonly pasid?: number }): number;
  /** As `VfioDevice.detach()`. */
  detach(options?: { readonly pasid?: number }): void;
}

/** @throws ArgumentError, ClosedError, and StateError before the device is bound */
export function checkBoundDevice(device: BoundDevice): void {
  checkLeased("device", device, "a device that is bound to an iommufd");
  device.lease.assertOpen();
  checkLeased("device.iommufd", device.iommufd, "an Iommufd", { fd: "number" });
}
