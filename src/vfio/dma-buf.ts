/** Exports parts of a device's BARs as dma-bufs. */
import { checkArray, checkLength, checkObject, checkOffset, checkU32 } from "../core/check.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { adopt } from "../sys/descriptors.js";
import { closing, O_CLOEXEC, O_RDWR } from "../sys/syscalls.js";
import type { RegionArea } from "./device-io.js";
import { callFeature, type Feature } from "./feature.js";
import { checkUsable, type FeatureTarget } from "./feature-target.js";
import {
  VFIO_DEVICE_FEATURE_DMA_BUF,
  vfio_device_feature_dma_buf,
  vfio_region_dma_range,
} from "./uapi-feature.js";

const DMA_BUF: Feature = { id: VFIO_DEVICE_FEATURE_DMA_BUF, name: "DMA-BUF export" };

/**
 * Part of a BAR as a dma-buf, for IOMMU_IOAS_MAP_FILE, so that other devices can access it. The kernel revokes it when the
 * device is reset, enters low power, or closes. Mappings of it stay invalid afterwards.
 */
export class DmaBuf extends Resource {
  constructor(
    /** The descriptor; owned by this object. */
    readonly fd: number,
    /** Length in bytes. */
    readonly sizeBytes: number,
    device: FeatureTarget,
  ) {
    super(new Lease(`dma-buf of ${device.lease.label}`, closing(fd), device.lease));
    this.retain(device);
  }
}

/**
 * VFIO_DEVICE_FEATURE_DMA_BUF.
 * @param ranges page aligned parts of the region, one after the other in the dma-buf; iommufd can map one only
 * @throws ArgumentError, UnsupportedError, SysError: EINVAL (range), ENODEV (no such BAR)
 */
export function exportDmaBuf(device: FeatureTarget, region: number, ranges: readonly RegionArea[]): DmaBuf {
  checkUsable(device);
  checkArray("ranges", ranges);
  for (const range of ranges) checkObject("range", range);
  const list = ranges.map(({ offset, sizeBytes }) =>
    vfio_region_dma_range.encode({
      offset: BigInt(checkOffset("offset", offset)),
      length: BigInt(checkLength("sizeBytes", sizeBytes)),
    }),
  );
  const header = vfio_device_feature_dma_buf.encode({
    region_index: checkU32("region", region),
    open_flags: O_RDWR | O_CLOEXEC,
    nr_ranges: ranges.length,
  });
  const { result } = callFeature(device, DMA_BUF, "get", Buffer.concat([header, ...list]));
  return new DmaBuf(
    adopt(result),
    ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    device,
  );
}
