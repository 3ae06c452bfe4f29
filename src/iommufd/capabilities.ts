/** Detects which iommufd requests the kernel supports. */
import { Errno } from "../core/errno.js";
import { type IoctlRequest, tryIoctl } from "../sys/ioctl.js";
import { IOMMU_IOAS_CHANGE_PROCESS, IOMMU_IOAS_MAP_FILE, IOMMU_IOAS_NOIOMMU_GET_PA } from "./uapi.js";
import { IOMMU_FAULT_QUEUE_ALLOC } from "./uapi-fault.js";
import { IOMMU_GET_HW_INFO } from "./uapi-hw-info.js";
import { IOMMU_HWPT_ALLOC, IOMMU_HWPT_INVALIDATE, IOMMU_HWPT_SET_DIRTY_TRACKING } from "./uapi-hwpt.js";
import {
  IOMMU_HW_QUEUE_ALLOC,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VIOMMU_ALLOC,
} from "./uapi-viommu.js";

/** Requests that this kernel's iommufd supports. {@link HwInfo} says what a device's IOMMU supports. */
export interface IommufdCapabilities {
  /** IOMMU_IOAS_MAP_FILE: memfd and dma-buf mappings. */
  readonly mapFile: boolean;
  /** IOMMU_IOAS_CHANGE_PROCESS. */
  readonly changeProcess: boolean;
  /** IOMMU_IOAS_NOIOMMU_GET_PA. */
  readonly noiommuPhysicalAddress: boolean;
  /** IOMMU_HWPT_ALLOC. */
  readonly hwpt: boolean;
  /** IOMMU_GET_HW_INFO. */
  readonly hwInfo: boolean;
  /** IOMMU_HWPT_SET_DIRTY_TRACKING and GET_DIRTY_BITMAP. */
  readonly dirtyTracking: boolean;
  /** IOMMU_HWPT_INVALIDATE: nested page tables. */
  readonly invalidate: boolean;
  /** IOMMU_FAULT_QUEUE_ALLOC. */
  readonly faultQueue: boolean;
  /** IOMMU_VIOMMU_ALLOC. */
  readonly viommu: boolean;
  /** IOMMU_VDEVICE_ALLOC. */
  readonly vdevice: boolean;
  /** IOMMU_VEVENTQ_ALLOC. */
  readonly veventq: boolean;
  /** IOMMU_HW_QUEUE_ALLOC. */
  readonly hwQueue: boolean;
}

/** Sends a request with length 0. A kernel that knows it rejects the length; others report ENOTTY. */
function isKnown(fd: number, request: IoctlRequest): boolean {
  return tryIoctl(fd, request, new Uint8Array(8)) !== -Errno.ENOTTY;
}

export function probeIommufd(fd: number): IommufdCapabilities {
  return {
    mapFile: isKnown(fd, IOMMU_IOAS_MAP_FILE),
    changeProcess: isKnown(fd, IOMMU_IOAS_CHANGE_PROCESS),
    noiommuPhysicalAddress: isKnown(fd, IOMMU_IOAS_NOIOMMU_GET_PA),
    hwpt: isKnown(fd, IOMMU_HWPT_ALLOC),
    hwInfo: isKnown(fd, IOMMU_GET_HW_INFO),
    dirtyTracking: isKnown(fd, IOMMU_HWPT_SET_DIRTY_TRACKING),
    invalidate: isKnown(fd, IOMMU_HWPT_INVALIDATE),
    faultQueue: isKnown(fd, IOMMU_FAULT_QUEUE_ALLOC),
    viommu: isKnown(fd, IOMMU_VIOMMU_ALLOC),
    vdevice: isKnown(fd, IOMMU_VDEVICE_ALLOC),
    veventq: isKnown(fd, IOMMU_VEVENTQ_ALLOC),
    hwQueue: isKnown(fd, IOMMU_HW_QUEUE_ALLOC),
  };
}
