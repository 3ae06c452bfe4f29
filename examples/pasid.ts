/**
 * Gives one device several address spaces. DMA with a process address space id (PASID) uses the page table that is attached to
 * that id. Needs a device and an IOMMU with PASIDs (HwInfo.maxPasidLog2 above 0).
 */
import type { DmaSpace } from "iova";
import type { DevicePageTables, PagingHwpt } from "iova/iommufd";

/**
 * @param tables those of a PciDevice: `device.pageTables`
 * @param pasids the ids, from 1 on
 * @returns a space for each id, and the page tables, the device's own first
 */
export function allocPasids(
  tables: DevicePageTables,
  pasids: readonly number[],
): { readonly spaces: DmaSpace[]; readonly pageTables: PagingHwpt[] } {
  // The device's own table must allow PASIDs, too, and must be attached before the others.
  const own = tables.alloc({ pasid: true });
  tables.attach(own);
  const pageTables = [own];
  const spaces = pasids.map((pasid) => {
    const space = tables.allocSpace();
    const table = tables.alloc({ space, pasid: true });
    tables.attach(table, { pasid });
    pageTables.push(table);
    return space;
  });
  return { spaces, pageTables };
}
