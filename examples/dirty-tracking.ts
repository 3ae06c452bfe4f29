/**
 * Which pages did a device write to? The heart of live migration: copy all, let the device work, copy what it touched.
 *
 * Needs an IOMMU that tracks dirty pages (HwInfo.dirtyTracking): AMD with HDSUP, Intel with second-stage dirty flags.
 */
import type { DirtyRange } from "iova/dma";
import type { Ioas } from "iova/iommufd";
import type { AttachableDevice } from "./attachable.js";

const PAGE = 4096;

/**
 * @param ioas where memory is mapped already
 * @param device bound, not attached
 * @param work lets the device do its DMA
 * @returns the runs of pages it wrote to in [iova, iova + sizeBytes)
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
