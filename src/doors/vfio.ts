/**
 * VFIO devices, groups and containers, and VFIO's features: migration, DMA logging, hot reset, displays, dma-bufs. Constants
 * keep the names of `linux/vfio.h`.
 *
 * @packageDocumentation
 */

export type { ListenOptions, Subscription } from "../core/listeners.js";
export { EventFd } from "../sys/eventfd.js";
export type { IoctlTrace } from "../sys/ioctl.js";
export type { Watch } from "../sys/watch.js";
export type { DeviceCapabilities } from "../vfio/capabilities.js";
export { type BindTarget, type BoundElsewhere, type PageTable, VfioDevice } from "../vfio/device.js";
export type {
  DeviceInfo,
  DeviceIo,
  DevicePresence,
  IrqInfo,
  RegionArea,
  RegionInfo,
} from "../vfio/device-io.js";
export { DmaBuf, exportDmaBuf } from "../vfio/dma-buf.js";
export { DmaLogging, type LoggedRange } from "../vfio/dma-logging.js";
export type { FeatureTarget } from "../vfio/feature-target.js";
export { type GfxPlane, getGfxDmaBuf, hasGfxPlanes, type PlaneKind, queryGfxPlane } from "../vfio/gfx.js";
export {
  type AffectedDevice,
  type HotResetInfo,
  hotReset,
  hotResetAsync,
  hotResetInfo,
} from "../vfio/hot-reset.js";
export { type IoEvent, IoEventFd } from "../vfio/ioeventfd.js";
export type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
export { enterLowPower, exitLowPower } from "../vfio/low-power.js";
export {
  Migration,
  type MigrationControl,
  MigrationData,
  type MigrationState,
  type MigrationStream,
  type MigrationSupport,
  type PrecopyInfo,
} from "../vfio/migration.js";
export {
  VFIO_PCI_BAR0_REGION_INDEX,
  VFIO_PCI_BAR1_REGION_INDEX,
  VFIO_PCI_BAR2_REGION_INDEX,
  VFIO_PCI_BAR3_REGION_INDEX,
  VFIO_PCI_BAR4_REGION_INDEX,
  VFIO_PCI_BAR5_REGION_INDEX,
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
  VFIO_PCI_ROM_REGION_INDEX,
  VFIO_PCI_VGA_REGION_INDEX,
  VFIO_REGION_SUBTYPE_GFX_EDID,
  VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG,
  VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION,
  VFIO_REGION_TYPE_GFX,
  VFIO_REGION_TYPE_PCI_VENDOR_MASK,
  VFIO_REGION_TYPE_PCI_VENDOR_TYPE,
} from "../vfio/uapi.js";
export { setVfToken } from "../vfio/vf-token.js";
export { type IommuType, type Type1Info, VfioContainer } from "../vfio-legacy/container.js";
export { ContainerMapper } from "../vfio-legacy/container-mapper.js";
export { type GroupStatus, groupOf, VfioGroup } from "../vfio-legacy/group.js";
export { NoiommuGroupMapper } from "../vfio-legacy/noiommu-mapper.js";
