/**
 * Sets up nested translation, as a virtual machine monitor does: the guest's own page table translates first, and what the host
 * maps for the guest second. The format of the guest's table depends on the IOMMU: vtdStage1(), smmuv3StreamTableEntry(),
 * amdDeviceTableEntry().
 */
import { type DevicePageTables, type DriverData, type NestedHwpt, Viommu } from "iova/iommufd";

/** A guest's virtual IOMMU. */
export interface GuestIommu {
  /** Data that the guest's IOMMU driver gets, by type of IOMMU. */
  readonly viommu: DriverData;
  /** The guest's number for the device: a stream id, a device id, or an RID. */
  readonly virtualDeviceId: bigint;
  /** The guest's page table. */
  readonly pageTable: DriverData;
}

/**
 * Puts a device under a guest's control.
 * @param tables those of a PciDevice, whose space maps the guest's physical memory: `device.pageTables`
 * @returns the guest's page table, attached. Closing the device closes everything in the right order
 */
export function giveToGuest(tables: DevicePageTables, guest: GuestIommu): NestedHwpt {
  const { device } = tables;
  const parent = tables.alloc({ nestParent: true });
  const viommu = Viommu.alloc(parent, device, guest.viommu);
  viommu.allocVdevice(device, guest.virtualDeviceId);
  const nested = viommu.allocNested(device, guest.pageTable);
  tables.attach(nested);
  return nested;
}
