/**
 * Finds the pages that a device wrote to. Live migration works like this: copy everything while the device runs, then copy
 * the pages that it has written to meanwhile.
 *
 * Needs an IOMMU that tracks dirty pages (HwInfo.dirtyTracking): AMD with HDSUP, Intel with second-stage dirty flags.
 */
import type { DirtyRange } from "iova/dma";
import type { Ioas } from "iova/iommufd";
import type { AttachableDevice } from "./attachable.js";

const PAGE = 4096;

/**
 * @param ioas an address space that has the memory mapped
 * @param device bound, not attached
 * @param work makes the device do its DMA
 * @returns ranges of pages that it wrote to in [iova, iova + sizeBytes)
 */
export async function pagesWritten(
  ioas: Ioas,
  device: AttachableDevice,
  iova: bigint,
  sizeBytes: number,
  work: () => Promise<void>,
): Promise<DirtyRange[]> {
  using hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
  device.attach(hwpt);
  try {
    hwpt.setDirtyTracking(true);
    await work();
    return [...hwpt.readDirty(iova, sizeBytes, PAGE).ranges()];
  } finally {
    device.detach();
  }
}
