/**
 * Gives one device several address spaces. DMA with a process address space id (PASID) uses the page table that is attached to
 * that id. Needs a device and an IOMMU with PASIDs (HwInfo.maxPasidLog2 above 0).
 */
import type { Ioas, PagingHwpt } from "iova/iommufd";
import type { AttachableDevice } from "./attachable.js";

/**
 * @param own the address space for DMA without a PASID
 * @param spaces one address space for each PASID
 * @returns the page tables, the device's own first
 */
export function attachSpaces(
  device: AttachableDevice,
  own: Ioas,
  spaces: ReadonlyMap<number, Ioas>,
): PagingHwpt[] {
  // The device's own table must allow PASIDs, too, and must be attached before the others.
  const first = own.allocHwpt(device, { pasid: true });
  device.attach(first);
  const tables = [first];
  for (const [pasid, ioas] of spaces) {
    const table = ioas.allocHwpt(device, { pasid: true });
    device.attach(table, { pasid });
    tables.push(table);
  }
  return tables;
}
