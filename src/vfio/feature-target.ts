/** What a request needs of the VFIO device it is made on. It keeps the features of a device apart from its class. */
import type { Lease } from "../core/lifetime/lease.js";

/** A VFIO device as far as a single request needs it; {@link VfioDevice} is one. */
export interface FeatureTarget {
  /** The device's descriptor. */
  readonly fd: number;
  /** The device's lifetime, and its name in errors. */
  readonly lease: Lease;
  /** @throws StateError before the device is bound to an iommufd, ClosedError once it is closed */
  assertUsable(): void;
}
