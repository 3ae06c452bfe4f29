/**
 * Two stages: a guest's own page table on top of what the host maps for it, as a virtual machine monitor sets it up.
 * The data of the guest's table depends on the IOMMU: vtdStage1(), smmuv3StreamTableEntry(), amdDeviceTableEntry().
 */
import { type DriverData, type Ioas, type NestedHwpt, Viommu } from "iova/iommufd";
import type { AttachableDevice } from "./attachable.js";

/** What a guest needs of its virtual IOMMU. */
export interface GuestIommu {
  /** What the guest's driver of it is told, by kind of IOMMU. */
  readonly viommu: DriverData;
  /** What the guest calls the device: a stream id, a device id, an RID. */
  readonly virtualDeviceId: bigint;
  /** The guest's page table. */
  readonly pageTable: DriverData;
}

/**
 * Puts a device under a guest's control.
 * @param guestMemory an address space that maps the guest's physical memory
 * @returns the guest's table, attached. Closing `guestMemory` undoes all of it, in the right order
 */
export function giveToGuest(guestMemory: Ioas, device: AttachableDevice, guest: GuestIommu): NestedHwpt {
  const parent = guestMemory.allocHwpt(device, { nestParent: true });
  const viommu = Viommu.alloc(parent, device, guest.viommu);
  viommu.allocVdevice(device, guest.virtualDeviceId);
  const nested = viommu.allocNested(device, guest.pageTable);
  device.attach(nested);
  return nested;
}
