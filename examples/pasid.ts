/**
 * Several address spaces on one device: DMA that carries a process address space id goes through the table attached to
 * that id. Needs a device and an IOMMU with PASIDs (HwInfo.maxPasidLog2 above 0).
 */
import type { Ioas, PagingHwpt } from "iova/iommufd";
import type { AttachableDevice } from "./attachable.js";

/**
 * @param own the address space of DMA without a PASID
 * @param spaces one address space for each PASID
 * @returns the page tables: the device's own first
 */
export function attachSpaces(
  device: AttachableDevice,
  own: Ioas,
  spaces: ReadonlyMap<number, Ioas>,
): PagingHwpt[] {
  // The device's own table has to be made for PASIDs too, and attached before any of them.
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
