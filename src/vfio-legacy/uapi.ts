/** include/uapi/linux/vfio.h, the requests on group and container descriptors, under the kernel's own names. */

import { struct, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";
import { vfio_info_cap_header } from "../vfio/uapi.js";

const VFIO_TYPE = ";";
const VFIO_BASE = 100;

export const VFIO_API_VERSION = 0;

export const VFIO_TYPE1_IOMMU = 1;
export const VFIO_TYPE1v2_IOMMU = 3;
export const VFIO_DMA_CC_IOMMU = 4;
export const VFIO_NOIOMMU_IOMMU = 8;
export const VFIO_UNMAP_ALL = 9;
export const VFIO_UPDATE_VADDR = 10;

export const VFIO_GET_API_VERSION = ioctlRequest("VFIO_GET_API_VERSION", VFIO_TYPE, VFIO_BASE + 0);
export const VFIO_CHECK_EXTENSION = ioctlRequest("VFIO_CHECK_EXTENSION", VFIO_TYPE, VFIO_BASE + 1);
export const VFIO_SET_IOMMU = ioctlRequest("VFIO_SET_IOMMU", VFIO_TYPE, VFIO_BASE + 2);
export const VFIO_GROUP_GET_STATUS = ioctlRequest("VFIO_GROUP_GET_STATUS", VFIO_TYPE, VFIO_BASE + 3);
export const VFIO_GROUP_SET_CONTAINER = ioctlRequest("VFIO_GROUP_SET_CONTAINER", VFIO_TYPE, VFIO_BASE + 4);
export const VFIO_GROUP_UNSET_CONTAINER = ioctlRequest(
  "VFIO_GROUP_UNSET_CONTAINER",
  VFIO_TYPE,
  VFIO_BASE + 5,
);
export const VFIO_GROUP_GET_DEVICE_FD = ioctlRequest("VFIO_GROUP_GET_DEVICE_FD", VFIO_TYPE, VFIO_BASE + 6);
export const VFIO_IOMMU_GET_INFO = ioctlRequest("VFIO_IOMMU_GET_INFO", VFIO_TYPE, VFIO_BASE + 12);
export const VFIO_IOMMU_MAP_DMA = ioctlRequest("VFIO_IOMMU_MAP_DMA", VFIO_TYPE, VFIO_BASE + 13);
export const VFIO_IOMMU_UNMAP_DMA = ioctlRequest("VFIO_IOMMU_UNMAP_DMA", VFIO_TYPE, VFIO_BASE + 14);

export const VFIO_IOMMU_DIRTY_PAGES = ioctlRequest("VFIO_IOMMU_DIRTY_PAGES", VFIO_TYPE, VFIO_BASE + 17);

export const VFIO_GROUP_FLAGS_VIABLE = 1 << 0;
export const VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1;

export const VFIO_IOMMU_INFO_PGSIZES = 1 << 0;
export const VFIO_IOMMU_INFO_CAPS = 1 << 1;

export const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
export const VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2;
export const VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

export const VFIO_DMA_MAP_FLAG_READ = 1 << 0;
export const VFIO_DMA_MAP_FLAG_WRITE = 1 << 1;

export const VFIO_DMA_MAP_FLAG_VADDR = 1 << 2;

export const VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1 << 0;
export const VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1;
export const VFIO_DMA_UNMAP_FLAG_VADDR = 1 << 2;

export const VFIO_IOMMU_DIRTY_PAGES_FLAG_START = 1 << 0;
export const VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP = 1 << 1;
export const VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = 1 << 2;

export const vfio_group_status = struct("vfio_group_status", { argsz: u32, flags: u32 });

export const vfio_iommu_type1_info = struct("vfio_iommu_type1_info", {
  argsz: u32,
  flags: u32,
  iova_pgsizes: u64,
  cap_offset: u32,
  pad: u32,
});

export const vfio_iova_range = struct("vfio_iova_range", { start: u64, end: u64 });

export const vfio_iommu_type1_info_cap_iova_range = struct("vfio_iommu_type1_info_cap_iova_range", {
  header: vfio_info_cap_header,
  nr_iovas: u32,
  reserved: u32,
});

export const vfio_iommu_type1_info_cap_migration = struct("vfio_iommu_type1_info_cap_migration", {
  header: vfio_info_cap_header,
  flags: u32,
  pgsize_bitmap: u64,
  max_dirty_bitmap_size: u64,
});

export const vfio_iommu_type1_info_dma_avail = struct("vfio_iommu_type1_info_dma_avail", {
  header: vfio_info_cap_header,
  avail: u32,
});

export const vfio_iommu_type1_dma_map = struct("vfio_iommu_type1_dma_map", {
  argsz: u32,
  flags: u32,
  vaddr: u64,
  iova: u64,
  size: u64,
});

export const vfio_iommu_type1_dma_unmap = struct("vfio_iommu_type1_dma_unmap", {
  argsz: u32,
  flags: u32,
  iova: u64,
  size: u64,
});

export const vfio_bitmap = struct("vfio_bitmap", { pgsize: u64, size: u64, data: u64 });

export const vfio_iommu_type1_dirty_bitmap = struct("vfio_iommu_type1_dirty_bitmap", {
  argsz: u32,
  flags: u32,
});

export const vfio_iommu_type1_dirty_bitmap_get = struct("vfio_iommu_type1_dirty_bitmap_get", {
  iova: u64,
  size: u64,
  bitmap: vfio_bitmap,
});
