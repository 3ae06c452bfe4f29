/** include/uapi/linux/iommufd.h: requests and structs under the kernel's own names. */

import { s32, struct, u16, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

const IOMMUFD_TYPE = ";";

export const IOMMU_DESTROY = ioctlRequest("IOMMU_DESTROY", IOMMUFD_TYPE, 0x80);
export const IOMMU_IOAS_ALLOC = ioctlRequest("IOMMU_IOAS_ALLOC", IOMMUFD_TYPE, 0x81);
export const IOMMU_IOAS_ALLOW_IOVAS = ioctlRequest("IOMMU_IOAS_ALLOW_IOVAS", IOMMUFD_TYPE, 0x82);
export const IOMMU_IOAS_COPY = ioctlRequest("IOMMU_IOAS_COPY", IOMMUFD_TYPE, 0x83);
export const IOMMU_IOAS_IOVA_RANGES = ioctlRequest("IOMMU_IOAS_IOVA_RANGES", IOMMUFD_TYPE, 0x84);
export const IOMMU_IOAS_MAP = ioctlRequest("IOMMU_IOAS_MAP", IOMMUFD_TYPE, 0x85);
export const IOMMU_IOAS_UNMAP = ioctlRequest("IOMMU_IOAS_UNMAP", IOMMUFD_TYPE, 0x86);
export const IOMMU_OPTION = ioctlRequest("IOMMU_OPTION", IOMMUFD_TYPE, 0x87);
export const IOMMU_VFIO_IOAS = ioctlRequest("IOMMU_VFIO_IOAS", IOMMUFD_TYPE, 0x88);
export const IOMMU_IOAS_MAP_FILE = ioctlRequest("IOMMU_IOAS_MAP_FILE", IOMMUFD_TYPE, 0x8f, "6.13");
export const IOMMU_IOAS_CHANGE_PROCESS = ioctlRequest(
  "IOMMU_IOAS_CHANGE_PROCESS",
  IOMMUFD_TYPE,
  0x92,
  "6.14",
);
export const IOMMU_IOAS_NOIOMMU_GET_PA = ioctlRequest("IOMMU_IOAS_NOIOMMU_GET_PA", IOMMUFD_TYPE, 0x95);

/** enum iommufd_ioas_map_flags */
export const IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0;
export const IOMMU_IOAS_MAP_WRITEABLE = 1 << 1;
export const IOMMU_IOAS_MAP_READABLE = 1 << 2;

/** enum iommufd_option */
export const IOMMU_OPTION_RLIMIT_MODE = 0;
export const IOMMU_OPTION_HUGE_PAGES = 1;

/** enum iommufd_option_ops */
export const IOMMU_OPTION_OP_SET = 0;
export const IOMMU_OPTION_OP_GET = 1;

/** enum iommufd_vfio_ioas_op */
export const IOMMU_VFIO_IOAS_GET = 0;
export const IOMMU_VFIO_IOAS_SET = 1;
export const IOMMU_VFIO_IOAS_CLEAR = 2;

export const iommu_destroy = struct("iommu_destroy", { size: u32, id: u32 });

export const iommu_ioas_alloc = struct("iommu_ioas_alloc", { size: u32, flags: u32, out_ioas_id: u32 });

export const iommu_iova_range = struct("iommu_iova_range", { start: u64, last: u64 });

export const iommu_ioas_iova_ranges = struct("iommu_ioas_iova_ranges", {
  size: u32,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
  out_iova_alignment: u64,
});

export const iommu_ioas_allow_iovas = struct("iommu_ioas_allow_iovas", {
  size: u32,
  ioas_id: u32,
  num_iovas: u32,
  __reserved: u32,
  allowed_iovas: u64,
});

export const iommu_ioas_map = struct("iommu_ioas_map", {
  size: u32,
  flags: u32,
  ioas_id: u32,
  __reserved: u32,
  user_va: u64,
  length: u64,
  iova: u64,
});

export const iommu_ioas_map_file = struct("iommu_ioas_map_file", {
  size: u32,
  flags: u32,
  ioas_id: u32,
  fd: s32,
  start: u64,
  length: u64,
  iova: u64,
});

export const iommu_ioas_copy = struct("iommu_ioas_copy", {
  size: u32,
  flags: u32,
  dst_ioas_id: u32,
  src_ioas_id: u32,
  length: u64,
  dst_iova: u64,
  src_iova: u64,
});

export const iommu_ioas_unmap = struct("iommu_ioas_unmap", {
  size: u32,
  ioas_id: u32,
  iova: u64,
  length: u64,
});

export const iommu_option = struct("iommu_option", {
  size: u32,
  option_id: u32,
  op: u16,
  __reserved: u16,
  object_id: u32,
  val64: u64,
});

export const iommu_vfio_ioas = struct("iommu_vfio_ioas", {
  size: u32,
  ioas_id: u32,
  op: u16,
  __reserved: u16,
});

export const iommu_ioas_change_process = struct("iommu_ioas_change_process", { size: u32, __reserved: u32 });

export const iommu_ioas_noiommu_get_pa = struct("iommu_ioas_noiommu_get_pa", {
  size: u32,
  flags: u32,
  ioas_id: u32,
  __reserved: u32,
  iova: u64,
  length: u64,
  out_phys: u64,
});
