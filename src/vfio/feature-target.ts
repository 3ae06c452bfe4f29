/** The part of a VFIO device that requests use, so that features don't depend on the device's class. */
import { checkLeased, type Lease } from "../core/lifetime/lease.js";

/** The part of a VFIO device that a request uses; {@link VfioDevice} implements it. */
export interface FeatureTarget {
  /** The device's descriptor. */
  readonly fd: number;
  /** The device's lifetime, and its name in errors. */
  readonly lease: Lease;
  /** @throws StateError before the device is bound to an iommufd, ClosedError after it was closed */
  assertUsable(): void;
}

/** Checks the device of an exported function. @throws ArgumentError, and as {@link FeatureTarget.assertUsable} */
export function checkUsable(device: FeatureTarget): void {
  checkLeased("device", device, "an open VfioDevice", { fd: "number", assertUsable: "function" });
  device.assertUsable();
}
