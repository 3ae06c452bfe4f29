/** include/uapi/linux/iommufd.h: virtual IOMMUs, their devices and queues. */

import { array, struct, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

const IOMMUFD_TYPE = ";";

export const IOMMU_VIOMMU_ALLOC = ioctlRequest("IOMMU_VIOMMU_ALLOC", IOMMUFD_TYPE, 0x90, "6.13");
export const IOMMU_VDEVICE_ALLOC = ioctlRequest("IOMMU_VDEVICE_ALLOC", IOMMUFD_TYPE, 0x91, "6.13");
export const IOMMU_VEVENTQ_ALLOC = ioctlRequest("IOMMU_VEVENTQ_ALLOC", IOMMUFD_TYPE, 0x93, "6.15");
export const IOMMU_HW_QUEUE_ALLOC = ioctlRequest("IOMMU_HW_QUEUE_ALLOC", IOMMUFD_TYPE, 0x94, "6.17");

/** enum iommu_viommu_type: reserved by the kernel. */
export const IOMMU_VIOMMU_TYPE_DEFAULT = 0;
/** enum iommu_viommu_type: Arm SMMUv3. */
export const IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1;
/** enum iommu_viommu_type: Arm SMMUv3 with NVIDIA's command queue virtualization (CMDQV). */
export const IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV = 2;

// enum iommu_veventq_flag
export const IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1 << 0;

/** enum iommu_veventq_type: reserved by the kernel. */
export const IOMMU_VEVENTQ_TYPE_DEFAULT = 0;
/** enum iommu_veventq_type: event records of Arm SMMUv3, 32 bytes each. */
export const IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 = 1;
/** enum iommu_veventq_type: error interrupts of NVIDIA's CMDQV, 16 bytes each. */
export const IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV = 2;

/** enum iommu_hw_queue_type: reserved by the kernel. */
export const IOMMU_HW_QUEUE_TYPE_DEFAULT = 0;
/**
 * enum iommu_hw_queue_type: a virtual command queue (VCMDQ) of NVIDIA's CMDQV. Its length is a power of 2 of at least
 * 32 bytes, and its address a multiple of the length.
 */
export const IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV = 1;

export const iommu_viommu_alloc = struct("iommu_viommu_alloc", {
  size: u32,
  flags: u32,
  type: u32,
  dev_id: u32,
  hwpt_id: u32,
  out_viommu_id: u32,
  data_len: u32,
  __reserved: u32,
  data_uptr: u64,
});

export const iommu_viommu_tegra241_cmdqv = struct("iommu_viommu_tegra241_cmdqv", {
  out_vintf_mmap_offset: u64,
  out_vintf_mmap_length: u64,
});

export const iommu_vdevice_alloc = struct("iommu_vdevice_alloc", {
  size: u32,
  viommu_id: u32,
  dev_id: u32,
  out_vdevice_id: u32,
  virt_id: u64,
});

export const iommu_veventq_alloc = struct("iommu_veventq_alloc", {
  size: u32,
  flags: u32,
  viommu_id: u32,
  type: u32,
  veventq_depth: u32,
  out_veventq_id: u32,
  out_veventq_fd: u32,
  __reserved: u32,
});

export const iommufd_vevent_header = struct("iommufd_vevent_header", { flags: u32, sequence: u32 });

export const iommu_vevent_arm_smmuv3 = struct("iommu_vevent_arm_smmuv3", { evt: array(u64, 4) });

export const iommu_vevent_tegra241_cmdqv = struct("iommu_vevent_tegra241_cmdqv", {
  lvcmdq_err_map: array(u64, 2),
});

export const iommu_hw_queue_alloc = struct("iommu_hw_queue_alloc", {
  size: u32,
  flags: u32,
  viommu_id: u32,
  type: u32,
  index: u32,
  out_hw_queue_id: u32,
  nesting_parent_iova: u64,
  length: u64,
});
