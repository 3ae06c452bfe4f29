/** include/uapi/linux/iommufd.h: information about a device's IOMMU. */

import { array, struct, u8, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

export const IOMMU_GET_HW_INFO = ioctlRequest("IOMMU_GET_HW_INFO", ";", 0x8a, "6.6");

/** enum iommu_hw_info_type: the IOMMU's driver reports no registers. */
export const IOMMU_HW_INFO_TYPE_NONE = 0;
/** enum iommu_hw_info_type, in a request: the default kind of the IOMMU's driver. */
export const IOMMU_HW_INFO_TYPE_DEFAULT = 0;
/** enum iommu_hw_info_type: Intel VT-d. */
export const IOMMU_HW_INFO_TYPE_INTEL_VTD = 1;
/** enum iommu_hw_info_type: Arm SMMUv3. */
export const IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2;
/** enum iommu_hw_info_type: NVIDIA's command queue virtualization (CMDQV), an extension of SMMUv3. */
export const IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV = 3;
/** enum iommu_hw_info_type: AMD's IOMMU. */
export const IOMMU_HW_INFO_TYPE_AMD = 4;

// enum iommufd_hw_info_flags
export const IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1 << 0;

/** enum iommufd_hw_capabilities: page tables can track dirty pages (IOMMU_HWPT_SET_DIRTY_TRACKING works). */
export const IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0;
/** enum iommufd_hw_capabilities: requests with a PASID can ask to execute. Meaningless for a device without PASIDs. */
export const IOMMU_HW_CAP_PCI_PASID_EXEC = 1 << 1;
/** enum iommufd_hw_capabilities: requests with a PASID can be privileged. Meaningless for a device without PASIDs. */
export const IOMMU_HW_CAP_PCI_PASID_PRIV = 1 << 2;
/** enum iommufd_hw_capabilities: the device can't use ATS. Without this bit, ATS may be on. */
export const IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1 << 3;

// enum iommu_hw_info_vtd_flags
export const IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 = 1 << 0;

// enum iommu_hw_info_arm_smmuv3_flags
export const IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI = 1 << 0;

/** The kernel's union of in_data_type and out_data_type is one word; here it has the output's name. */
export const iommu_hw_info = struct("iommu_hw_info", {
  size: u32,
  flags: u32,
  dev_id: u32,
  data_len: u32,
  data_uptr: u64,
  out_data_type: u32,
  out_max_pasid_log2: u8,
  __reserved: array(u8, 3),
  out_capabilities: u64,
});

export const iommu_hw_info_vtd = struct("iommu_hw_info_vtd", {
  flags: u32,
  __reserved: u32,
  cap_reg: u64,
  ecap_reg: u64,
});

export const iommu_hw_info_arm_smmuv3 = struct("iommu_hw_info_arm_smmuv3", {
  flags: u32,
  __reserved: u32,
  idr: array(u32, 6),
  iidr: u32,
  aidr: u32,
});

export const iommu_hw_info_tegra241_cmdqv = struct("iommu_hw_info_tegra241_cmdqv", {
  flags: u32,
  version: u8,
  log2vcmdqs: u8,
  log2vsids: u8,
  __reserved: u8,
});

export const iommu_hw_info_amd = struct("iommu_hw_info_amd", { efr: u64, efr2: u64 });
