/** What the iommufd examples need of a device: that it can be attached to a page table. */
import type { BoundDevice } from "iova/iommufd";
import type { PageTable } from "iova/vfio";

/** A bound device that can be attached to a page table: a VfioDevice, or a test's substitute. */
export interface AttachableDevice extends BoundDevice {
  attach(pageTable: PageTable, options?: { readonly pasid?: number }): number;
  detach(options?: { readonly pasid?: number }): void;
}
