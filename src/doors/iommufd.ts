/**
 * The objects of `/dev/iommu`, one class each: address spaces, hardware page tables, fault queues, virtual IOMMUs. Constants
 * keep the names of `linux/iommufd.h`.
 *
 * @packageDocumentation
 */

export type { ListenOptions } from "../core/listeners.js";
export type { IommufdCapabilities } from "../iommufd/capabilities.js";
export type { AttachableDevice, BoundDevice } from "../iommufd/device-ref.js";
export {
  amdDeviceTableEntry,
  type DriverData,
  type InvalidationData,
  smmuv3Invalidations,
  smmuv3StreamTableEntry,
  type VtdInvalidation,
  type VtdStage1,
  vtdInvalidations,
  vtdStage1,
} from "../iommufd/driver-data.js";
export { FaultQueue, type PageRequest, PageRequestGroup, type PageResponse } from "../iommufd/fault-queue.js";
export type { AmdFeatures, Smmuv3Features, VtdFeatures } from "../iommufd/hw-features.js";
export type { HwInfo, HwRegisters } from "../iommufd/hw-info.js";
export { HwQueue, type HwQueueOptions } from "../iommufd/hw-queue.js";
export { Hwpt, type HwptOptions, NestedHwpt, PagingHwpt, type PagingHwptOptions } from "../iommufd/hwpt.js";
export { InvalidationError } from "../iommufd/invalidate.js";
export { Ioas, type IoasIovaRanges, type IoasMapOptions, type UserRange } from "../iommufd/ioas.js";
export { IoasMapper } from "../iommufd/ioas-mapper.js";
export { Iommufd, type RlimitMode } from "../iommufd/iommufd.js";
export { NoiommuIoasMapper } from "../iommufd/noiommu-mapper.js";
export {
  DevicePageTables,
  type PageTableOptions,
  type PageTableTarget,
} from "../iommufd/page-tables.js";
export {
  IOMMU_PGFAULT_PERM_EXEC,
  IOMMU_PGFAULT_PERM_PRIV,
  IOMMU_PGFAULT_PERM_READ,
  IOMMU_PGFAULT_PERM_WRITE,
} from "../iommufd/uapi-fault.js";
export {
  IOMMU_HW_CAP_DIRTY_TRACKING,
  IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED,
  IOMMU_HW_CAP_PCI_PASID_EXEC,
  IOMMU_HW_CAP_PCI_PASID_PRIV,
  IOMMU_HW_INFO_TYPE_AMD,
  IOMMU_HW_INFO_TYPE_ARM_SMMUV3,
  IOMMU_HW_INFO_TYPE_DEFAULT,
  IOMMU_HW_INFO_TYPE_INTEL_VTD,
  IOMMU_HW_INFO_TYPE_NONE,
  IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV,
} from "../iommufd/uapi-hw-info.js";
export {
  IOMMU_HWPT_DATA_AMD_GUEST,
  IOMMU_HWPT_DATA_ARM_SMMUV3,
  IOMMU_HWPT_DATA_NONE,
  IOMMU_HWPT_DATA_VTD_S1,
  IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
  IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
  IOMMU_VTD_S1_EAFE,
  IOMMU_VTD_S1_SRE,
  IOMMU_VTD_S1_WPE,
} from "../iommufd/uapi-hwpt.js";
export {
  IOMMU_HW_QUEUE_TYPE_DEFAULT,
  IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
  IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
  IOMMU_VEVENTQ_TYPE_DEFAULT,
  IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
  IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
  IOMMU_VIOMMU_TYPE_DEFAULT,
  IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
} from "../iommufd/uapi-viommu.js";
export { Vdevice } from "../iommufd/vdevice.js";
export { type Vevent, Veventq, type VeventqOptions } from "../iommufd/veventq.js";
export { Viommu } from "../iommufd/viommu.js";
export type { IoctlTrace } from "../sys/ioctl.js";
