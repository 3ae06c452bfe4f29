/**
 * iova: the IOMMU for Node.js.
 *
 * Devices in software, and the server that offers them to others, are a part of its own: `iova/emulator`.
 *
 * @packageDocumentation
 */

export {
  ArgumentError,
  BusyError,
  ClosedError,
  ConfigError,
  DeviceGoneError,
  IovaError,
  StateError,
  SysError,
  type SysErrorContext,
  TimeoutError,
  UnsupportedError,
} from "./core/errors.js";
export type { Resource } from "./core/resource.js";
export type { BackingOptions, PageChoice } from "./dma/backing.js";
export { DmaBuffer } from "./dma/buffer.js";
export { DirtyBitmap, type DirtyRange } from "./dma/dirty-bitmap.js";
export { type Iova, type IovaRange, iova } from "./dma/iova/address.js";
export { IovaAllocator, type IovaAllocatorStats, type IovaPlacement } from "./dma/iova/allocator.js";
export { IovaSpaceError, type IovaSpaceReason } from "./dma/iova/error.js";
export type { DmaAccess, DmaMapper } from "./dma/mapper.js";
export { type MemlockAccount, MemlockError } from "./dma/memlock.js";
export {
  DmaPool,
  type DmaPoolOptions,
  type DmaPoolStats,
  PoolExhaustedError,
  type PoolHandle,
} from "./dma/pool.js";
export type { DmaSegment } from "./dma/segments.js";
export { BorrowedBuffer, type SharedBuffer } from "./dma/shared-buffer.js";
export {
  type AllocOptions,
  type DmaBufOptions,
  type DmaPart,
  DmaSpace,
  type MapOptions,
} from "./dma/space.js";
export { exportUdmabuf, Udmabuf, type UdmabufOptions } from "./dma/udmabuf.js";
export { DmaWindow } from "./dma/window.js";
export type { IommufdCapabilities } from "./iommufd/capabilities.js";
export type { BoundDevice } from "./iommufd/device-ref.js";
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
} from "./iommufd/driver-data.js";
export { FaultQueue, type PageRequest, PageRequestGroup, type PageResponse } from "./iommufd/fault-queue.js";
export type { AmdFeatures, Smmuv3Features, VtdFeatures } from "./iommufd/hw-features.js";
export type { HwInfo, HwRegisters } from "./iommufd/hw-info.js";
export { HwQueue, type HwQueueOptions } from "./iommufd/hw-queue.js";
export { Hwpt, type HwptOptions, NestedHwpt, PagingHwpt, type PagingHwptOptions } from "./iommufd/hwpt.js";
export { InvalidationError } from "./iommufd/invalidate.js";
export { Ioas, type IoasIovaRanges, type IoasMapOptions, type UserRange } from "./iommufd/ioas.js";
export { IoasMapper } from "./iommufd/ioas-mapper.js";
export { Iommufd, type RlimitMode } from "./iommufd/iommufd.js";
export { NoiommuIoasMapper } from "./iommufd/noiommu-mapper.js";
export { Vdevice } from "./iommufd/vdevice.js";
export { type Vevent, Veventq, type VeventqOptions } from "./iommufd/veventq.js";
export { Viommu } from "./iommufd/viommu.js";
export { NvmeCapacity } from "./nvme/admin/capacity.js";
export { type DirectiveOperation, NvmeDirectives } from "./nvme/admin/directives.js";
export { type NvmeEvent, NvmeEvents } from "./nvme/admin/events.js";
export { type FdpConfiguration, NvmeFdpLogs } from "./nvme/admin/fdp-logs.js";
export type { GetFeatureOptions, SetFeatureOptions } from "./nvme/admin/feature-source.js";
export { NvmeFeatureStructures } from "./nvme/admin/feature-structures.js";
export { NvmeFeatures } from "./nvme/admin/features.js";
export {
  FirmwareAction,
  type FirmwareActivation,
  type FirmwareCommitOptions,
  type FirmwareCommitResult,
  NvmeFirmware,
} from "./nvme/admin/firmware.js";
export { HostMemoryBuffer, type HostMemoryTarget } from "./nvme/admin/host-memory-buffer.js";
export { LockdownInterface, type LockdownOptions, LockdownScope } from "./nvme/admin/lockdown.js";
export {
  type AnaGroup,
  NvmeLogLists,
  type PersistentEvent,
  type PersistentEventHeader,
} from "./nvme/admin/log-lists.js";
export type { LogPageOptions, WholePageOptions } from "./nvme/admin/log-source.js";
export { NvmeLogs } from "./nvme/admin/logs.js";
export {
  type FormatOptions,
  NvmeMaintenance,
  SanitizeAction,
  type SanitizeOptions,
  SecureErase,
} from "./nvme/admin/maintenance.js";
export { type CreateNamespaceOptions, NvmeNamespaceManagement } from "./nvme/admin/namespace-management.js";
export { NvmeSecurity, type SecurityProtocol } from "./nvme/admin/security.js";
export { type IdentifyOptions, type NamespaceIdentifiers, NvmeStructures } from "./nvme/admin/structures.js";
export { NvmeTelemetry, type Telemetry, type TelemetryOptions } from "./nvme/admin/telemetry.js";
export { NvmeVirtualization } from "./nvme/admin/virtualization.js";
export type {
  BitBucket,
  CommandData,
  DataList,
  DataRange,
  NvmeCommand,
  NvmeCompletion,
  SglOptions,
} from "./nvme/command/command.js";
export type { CommandOptions, IoCommandOptions } from "./nvme/command/command-options.js";
export { NvmeError, NvmeProtocolError, NvmeResetError, retryDelayMs } from "./nvme/command/error.js";
export type { CommandTrace, CompletionTrace, LifecycleTrace } from "./nvme/command/trace.js";
export { NvmeController } from "./nvme/controller.js";
export type { SetFeature } from "./nvme/engine/feature-restore.js";
export type { NvmeLifecycle, NvmeLifecycleEvents, NvmeState, RetryPolicy } from "./nvme/engine/lifecycle.js";
export type { NvmeOptions } from "./nvme/engine/options.js";
export { type CmbProperties, ControllerMemoryBuffer } from "./nvme/memory/cmb.js";
export { PersistentMemoryRegion, type PmrProperties } from "./nvme/memory/pmr.js";
export type { BlockRange, CopyRange, DatasetAttributes, DatasetRange } from "./nvme/namespace/dataset.js";
export type { IoOptions, ProtectionOptions } from "./nvme/namespace/io-options.js";
export { type CopyOptions, NvmeNamespace } from "./nvme/namespace/namespace.js";
export { NvmePlacement, type ReclaimUnitHandle } from "./nvme/namespace/placement.js";
export { NvmeReservations, type Registrant, type ReservationStatus } from "./nvme/namespace/reservations.js";
export type { ReadStreamOptions, WriteStreamOptions } from "./nvme/namespace/streams.js";
export type { ChunkOptions, NvmeChunk, RangeOptions } from "./nvme/namespace/transfers.js";
export {
  type Zone,
  type ZoneChoice,
  ZonedNamespace,
  type ZoneReportOptions,
  type ZoneStateName,
} from "./nvme/namespace/zoned-namespace.js";
export { crc16, crc32c, crc64 } from "./nvme/protection/crc.js";
export {
  type ProtectionChecks,
  type ProtectionFormat,
  ProtectionInformation,
  type ProtectionTags,
} from "./nvme/protection/information.js";
export { CommandIds } from "./nvme/queues/command-ids.js";
export { CompletionQueue, CQE_WORDS } from "./nvme/queues/completion-queue.js";
export { type HandedOver, HandedQueues } from "./nvme/queues/handed-queues.js";
export type { NvmeQueue, QueueOptions } from "./nvme/queues/io-queues.js";
export type { RingBuffers } from "./nvme/queues/queue-memory.js";
export type { CompletionMode } from "./nvme/queues/queue-pair.js";
export {
  NvmeRings,
  type RawCompletionQueue,
  type RawQueueOptions,
  type RawSubmissionQueue,
} from "./nvme/queues/rings.js";
export type { QueueStatistics } from "./nvme/queues/statistics.js";
export { writeIoEntry, writeRawEntry } from "./nvme/queues/submission-entry.js";
export { SQE_WORDS, SubmissionQueue } from "./nvme/queues/submission-queue.js";
export {
  Anacap,
  Apsta,
  type Bits,
  type BitTable,
  Cmic,
  Ctratt,
  Dlfeat,
  Dpc,
  Dps,
  Dsto,
  decodeBits,
  encodeBits,
  Flbas,
  Fna,
  Fpi,
  Frmw,
  Hctma,
  Lpa,
  Mc,
  Nmic,
  Nsfeat,
  Nwpc,
  Oacs,
  Oaes,
  Oncs,
  Rescap,
  Sanicap,
  Sgls,
  Vwc,
} from "./nvme/spec/capabilities.js";
export { type DirectiveState, DirectiveType, type StreamsParameters } from "./nvme/spec/directives.js";
export { type FdpEvent, FdpEventType, type FdpStatistics, ReclaimUnitHandleType } from "./nvme/spec/fdp.js";
export {
  Feature,
  type HostBehavior,
  type LbaRange,
  type PowerTransition,
  type PredictableLatencyConfig,
  WriteProtection,
} from "./nvme/spec/features.js";
export type {
  IdentifyController,
  IdentifyIndependentNamespace,
  IdentifyNamespace,
  IdentifyNvmController,
  IdentifyNvmNamespace,
  LbaFormat,
} from "./nvme/spec/identify.js";
export type { Domain, NamespaceGranularity, NvmSet } from "./nvme/spec/identify-lists.js";
export type { IdentifyKeyValueNamespace, KeyValueFormat } from "./nvme/spec/key-value.js";
export {
  AnaState,
  CommandEffect,
  type EnduranceGroupLog,
  type ErrorLogEntry,
  FeatureEffect,
  LogPageSupport,
  type MediaUnit,
  PersistentEventType,
  type PredictableLatencyLog,
  type ReservationLog,
  ReservationNotification,
  type RotationalMediaLog,
  type SanitizeLog,
  SanitizeStatus,
  SelfTestCode,
  type SelfTestEntry,
  SelfTestResult,
  type SmartLog,
  type TelemetryHeader,
} from "./nvme/spec/log-pages.js";
export { AsyncEventInfo, FeatureId, IdentifyCns, LogPageId } from "./nvme/spec/opcodes.js";
export type { PowerState } from "./nvme/spec/power-state.js";
export type { Capabilities as NvmeCapabilities } from "./nvme/spec/registers.js";
export { NvmeRegister } from "./nvme/spec/registers.js";
export type { ReservationType } from "./nvme/spec/reservations.js";
export { NvmeStatus } from "./nvme/spec/status.js";
export type { PrimaryControllerCapabilities, SecondaryController } from "./nvme/spec/virtualization.js";
export { ResourceType, VirtualizationAction } from "./nvme/spec/virtualization.js";
export type { IdentifyZonedController, IdentifyZonedNamespace } from "./nvme/spec/zoned.js";
export { Bar } from "./pci/bar.js";
export { parseBdf } from "./pci/bdf.js";
export { BindError, bindToVfio, unbindFromVfio, VfioBinding } from "./pci/bind.js";
export { ConfigSpace, type PciCapability, PciCommand, PciRegister } from "./pci/config-space.js";
export { PciDevice, type PciOpenOptions } from "./pci/device.js";
export { type InterruptKind, type InterruptOptions, Interrupts } from "./pci/interrupts.js";
export type { BackendName } from "./pci/open.js";
export { listPciFunctions, type PciBarInfo, type PciFunction, readPciFunction } from "./pci/sysfs.js";
export { blockDevices, partitions, usersOf } from "./pci/usage.js";
export { EventFd } from "./sys/eventfd.js";
export {
  MappedMemory,
  type MemfdOptions,
  type MemoryBacking,
  type MemoryOptions,
  type MemorySource,
} from "./sys/memory.js";
export {
  acquire,
  publish,
  readRegister,
  readRegister64,
  writeRegister,
  writeRegister64,
} from "./sys/mmio.js";
export type { Watch } from "./sys/watch.js";
export type { DeviceCapabilities } from "./vfio/capabilities.js";
export { type BindTarget, type PageTable, VfioDevice } from "./vfio/device.js";
export type {
  DeviceInfo,
  DeviceIo,
  DevicePresence,
  IrqInfo,
  RegionArea,
  RegionInfo,
} from "./vfio/device-io.js";
export { DmaBuf, exportDmaBuf } from "./vfio/dma-buf.js";
export { DmaLogging, type LoggedRange } from "./vfio/dma-logging.js";
export { type GfxPlane, getGfxDmaBuf, hasGfxPlanes, type PlaneKind, queryGfxPlane } from "./vfio/gfx.js";
export { type AffectedDevice, type HotResetInfo, hotReset, hotResetInfo } from "./vfio/hot-reset.js";
export { type IoEvent, IoEventFd } from "./vfio/ioeventfd.js";
export { enterLowPower, exitLowPower } from "./vfio/low-power.js";
export {
  Migration,
  type MigrationControl,
  MigrationData,
  type MigrationState,
  type MigrationStream,
  type MigrationSupport,
  type PrecopyInfo,
} from "./vfio/migration.js";
export { setVfToken } from "./vfio/vf-token.js";
export { type IommuType, type Type1Info, VfioContainer } from "./vfio-legacy/container.js";
export { ContainerMapper } from "./vfio-legacy/container-mapper.js";
export { type GroupStatus, groupOf, VfioGroup } from "./vfio-legacy/group.js";
export { NoiommuGroupMapper } from "./vfio-legacy/noiommu-mapper.js";
export { type Answer, type ClientDma, type ServerState, VfioUserClient } from "./vfio-user/client/client.js";
export { VfioUserDevice } from "./vfio-user/client/device.js";
export { VfioUserDmaLogging } from "./vfio-user/client/dma-logging.js";
export { type IoEventPlace, VfioUserIoEventFd } from "./vfio-user/client/io-events.js";
export { VfioUserMapper } from "./vfio-user/client/mapper.js";
export { VfioUserMigration, VfioUserMigrationData } from "./vfio-user/client/migration.js";
export type { ReconnectOptions, VfioUserOptions } from "./vfio-user/client/options.js";
export { VfioUserProtocolError } from "./vfio-user/protocol/channel.js";
export type { VfioUserCapabilities } from "./vfio-user/protocol/version.js";
