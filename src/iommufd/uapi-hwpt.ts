/** include/uapi/linux/iommufd.h: hardware page tables, dirty tracking, invalidation. */

import { array, struct, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

const IOMMUFD_TYPE = ";";

export const IOMMU_HWPT_ALLOC = ioctlRequest("IOMMU_HWPT_ALLOC", IOMMUFD_TYPE, 0x89, "6.6");
export const IOMMU_HWPT_SET_DIRTY_TRACKING = ioctlRequest(
  "IOMMU_HWPT_SET_DIRTY_TRACKING",
  IOMMUFD_TYPE,
  0x8b,
  "6.7",
);
export const IOMMU_HWPT_GET_DIRTY_BITMAP = ioctlRequest(
  "IOMMU_HWPT_GET_DIRTY_BITMAP",
  IOMMUFD_TYPE,
  0x8c,
  "6.7",
);
export const IOMMU_HWPT_INVALIDATE = ioctlRequest("IOMMU_HWPT_INVALIDATE", IOMMUFD_TYPE, 0x8d, "6.8");

// enum iommufd_hwpt_alloc_flags
export const IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0;
export const IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1;
export const IOMMU_HWPT_FAULT_ID_VALID = 1 << 2;
export const IOMMU_HWPT_ALLOC_PASID = 1 << 3;

/** enum iommu_hwpt_data_type: no data; the kernel manages the page table. */
export const IOMMU_HWPT_DATA_NONE = 0;
/** enum iommu_hwpt_data_type: a stage-1 page table of Intel VT-d (struct iommu_hwpt_vtd_s1). */
export const IOMMU_HWPT_DATA_VTD_S1 = 1;
/** enum iommu_hwpt_data_type: a guest's context descriptor table on Arm SMMUv3 (struct iommu_hwpt_arm_smmuv3). */
export const IOMMU_HWPT_DATA_ARM_SMMUV3 = 2;
/** enum iommu_hwpt_data_type: a guest's page table on AMD (struct iommu_hwpt_amd_guest). */
export const IOMMU_HWPT_DATA_AMD_GUEST = 3;

/** enum iommu_hwpt_vtd_s1_flags: supervisor requests are allowed. */
export const IOMMU_VTD_S1_SRE = 1 << 0;
/** enum iommu_hwpt_vtd_s1_flags: the extended access flag is enabled. */
export const IOMMU_VTD_S1_EAFE = 1 << 1;
/** enum iommu_hwpt_vtd_s1_flags: write protection applies to supervisor requests, too. */
export const IOMMU_VTD_S1_WPE = 1 << 2;

// enum iommufd_hwpt_set_dirty_tracking_flags
export const IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1;

// enum iommufd_hwpt_get_dirty_bitmap_flags
export const IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1;

/** enum iommu_hwpt_invalidate_data_type: ranges of a VT-d stage-1 page table (struct iommu_hwpt_vtd_s1_invalidate). */
export const IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 = 0;
/** enum iommu_hwpt_invalidate_data_type: SMMUv3 commands (struct iommu_viommu_arm_smmuv3_invalidate). */
export const IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 = 1;

// enum iommu_hwpt_vtd_s1_invalidate_flags
export const IOMMU_VTD_INV_FLAGS_LEAF = 1 << 0;

export const iommu_hwpt_alloc = struct("iommu_hwpt_alloc", {
  size: u32,
  flags: u32,
  dev_id: u32,
  pt_id: u32,
  out_hwpt_id: u32,
  __reserved: u32,
  data_type: u32,
  data_len: u32,
  data_uptr: u64,
  fault_id: u32,
  __reserved2: u32,
});

export const iommu_hwpt_vtd_s1 = struct("iommu_hwpt_vtd_s1", {
  flags: u64,
  pgtbl_addr: u64,
  addr_width: u32,
  __reserved: u32,
});

export const iommu_hwpt_arm_smmuv3 = struct("iommu_hwpt_arm_smmuv3", { ste: array(u64, 2) });

export const iommu_hwpt_amd_guest = struct("iommu_hwpt_amd_guest", { dte: array(u64, 4) });

export const iommu_hwpt_set_dirty_tracking = struct("iommu_hwpt_set_dirty_tracking", {
  size: u32,
  flags: u32,
  hwpt_id: u32,
  __reserved: u32,
});

export const iommu_hwpt_get_dirty_bitmap = struct("iommu_hwpt_get_dirty_bitmap", {
  size: u32,
  hwpt_id: u32,
  flags: u32,
  __reserved: u32,
  iova: u64,
  length: u64,
  page_size: u64,
  data: u64,
});

export const iommu_hwpt_invalidate = struct("iommu_hwpt_invalidate", {
  size: u32,
  hwpt_id: u32,
  data_uptr: u64,
  data_type: u32,
  entry_len: u32,
  entry_num: u32,
  __reserved: u32,
});

export const iommu_hwpt_vtd_s1_invalidate = struct("iommu_hwpt_vtd_s1_invalidate", {
  addr: u64,
  npages: u64,
  flags: u32,
  __reserved: u32,
});

export const iommu_viommu_arm_smmuv3_invalidate = struct("iommu_viommu_arm_smmuv3_invalidate", {
  cmd: array(u64, 2),
});
