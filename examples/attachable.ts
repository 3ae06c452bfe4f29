import type { BoundDevice } from "iova/iommufd";
import type { PageTable } from "iova/vfio";

/** A bound device that can be put on a page table: a VfioDevice, or what a test has in its place. */
export interface AttachableDevice extends BoundDevice {
  attach(pageTable: PageTable, options?: { readonly pasid?: number }): number;
  detach(options?: { readonly pasid?: number }): void;
}
