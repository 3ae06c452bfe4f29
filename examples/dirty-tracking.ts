/**
 * Finds the pages that a device wrote to. Live migration works like this: copy everything while the device runs, then copy
 * the pages that it has written to meanwhile.
 *
 * Needs an IOMMU that tracks dirty pages (HwInfo.dirtyTracking): AMD with HDSUP, Intel with second-stage dirty flags.
 */
import type { DirtyRange } from "iova/dma";
import type { DevicePageTables } from "iova/iommufd";

const PAGE = 4096;

/**
 * @param tables those of a PciDevice, whose space maps the memory: `device.pageTables`
 * @param work makes the device do its DMA
 * @returns ranges of pages that it wrote to in [iova, iova + sizeBytes)
 */
export async function pagesWritten(
  tables: DevicePageTables,
  iova: bigint,
  sizeBytes: number,
  work: () => Promise<void>,
): Promise<DirtyRange[]> {
  using table = tables.alloc({ dirtyTracking: true });
  tables.attach(table);
  try {
    table.setDirtyTracking(true);
    await work();
    return [...table.readDirty(iova, sizeBytes, PAGE).ranges()];
  } finally {
    // Back to the device's ordinary page table.
    tables.attach(tables.dma);
  }
}
