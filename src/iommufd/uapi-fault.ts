/** include/uapi/linux/iommufd.h: I/O page faults. */

import { struct, u32, u64 } from "../core/struct.js";
import { ioctlRequest } from "../sys/ioctl.js";

export const IOMMU_FAULT_QUEUE_ALLOC = ioctlRequest("IOMMU_FAULT_QUEUE_ALLOC", ";", 0x8e, "6.11");

// enum iommu_hwpt_pgfault_flags
export const IOMMU_PGFAULT_FLAGS_PASID_VALID = 1 << 0;
export const IOMMU_PGFAULT_FLAGS_LAST_PAGE = 1 << 1;

/** enum iommu_hwpt_pgfault_perm: the device wants to read. */
export const IOMMU_PGFAULT_PERM_READ = 1 << 0;
/** enum iommu_hwpt_pgfault_perm: the device wants to write. */
export const IOMMU_PGFAULT_PERM_WRITE = 1 << 1;
/** enum iommu_hwpt_pgfault_perm: "Execute Requested" is set in the request's PASID prefix (PCIe 10.4.1). */
export const IOMMU_PGFAULT_PERM_EXEC = 1 << 2;
/** enum iommu_hwpt_pgfault_perm: "Privileged Mode Requested" is set in the request's PASID prefix (PCIe 10.4.1). */
export const IOMMU_PGFAULT_PERM_PRIV = 1 << 3;

// enum iommufd_page_response_code
export const IOMMUFD_PAGE_RESP_SUCCESS = 0;
export const IOMMUFD_PAGE_RESP_INVALID = 1;

export const iommu_fault_alloc = struct("iommu_fault_alloc", {
  size: u32,
  flags: u32,
  out_fault_id: u32,
  out_fault_fd: u32,
});

export const iommu_hwpt_pgfault = struct("iommu_hwpt_pgfault", {
  flags: u32,
  dev_id: u32,
  pasid: u32,
  grpid: u32,
  perm: u32,
  __reserved: u32,
  addr: u64,
  length: u32,
  cookie: u32,
});

export const iommu_hwpt_page_response = struct("iommu_hwpt_page_response", { cookie: u32, code: u32 });
