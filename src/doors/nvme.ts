/**
 * The NVMe driver: controller, namespaces, admin commands, queues and rings, protection information, and the tables of the
 * NVMe specifications under their names.
 *
 * @packageDocumentation
 */

export type { ListenOptions } from "../core/listeners.js";
export { NvmeCapacity } from "../nvme/admin/capacity.js";
export type {
  CapacityChannel,
  CapacityConfiguration,
  CapacityGroup,
} from "../nvme/admin/capacity-configurations.js";
export { type DirectiveOperation, NvmeDirectives } from "../nvme/admin/directives.js";
export { type NvmeEvent, NvmeEvents } from "../nvme/admin/events.js";
export { type FdpConfiguration, NvmeFdpLogs } from "../nvme/admin/fdp-logs.js";
export type { GetFeatureOptions, SetFeatureOptions } from "../nvme/admin/feature-source.js";
export { NvmeFeatureStructures } from "../nvme/admin/feature-structures.js";
export { NvmeFeatures } from "../nvme/admin/features.js";
export {
  FirmwareAction,
  type FirmwareActivation,
  type FirmwareCommitOptions,
  type FirmwareCommitResult,
  NvmeFirmware,
} from "../nvme/admin/firmware.js";
export { HostMemoryBuffer, type HostMemoryTarget } from "../nvme/admin/host-memory-buffer.js";
export { LockdownInterface, type LockdownOptions, LockdownScope } from "../nvme/admin/lockdown.js";
export {
  type AnaGroup,
  NvmeLogLists,
  type PersistentEvent,
  type PersistentEventHeader,
} from "../nvme/admin/log-lists.js";
export type { LogPageOptions, WholePageOptions } from "../nvme/admin/log-source.js";
export { NvmeLogs } from "../nvme/admin/logs.js";
export {
  type FormatOptions,
  type NamespaceSanitizeAction,
  NvmeMaintenance,
  SanitizeAction,
  type SanitizeOptions,
  SecureErase,
} from "../nvme/admin/maintenance.js";
export { type CreateNamespaceOptions, NvmeNamespaceManagement } from "../nvme/admin/namespace-management.js";
export type { PowerMeasurement } from "../nvme/admin/power-measurement.js";
export { NvmeRpmb, NvmeRpmbError } from "../nvme/admin/rpmb.js";
export { NvmeSecurity, type SecurityProtocol } from "../nvme/admin/security.js";
export { NvmeStructures } from "../nvme/admin/structures.js";
export { NvmeTelemetry, type Telemetry, type TelemetryOptions } from "../nvme/admin/telemetry.js";
export {
  type ManagementAddress,
  NvmeTopologyLogs,
  type ReachabilityAssociation,
  type ReachabilityGroup,
} from "../nvme/admin/topology-logs.js";
export { NvmeVirtualization } from "../nvme/admin/virtualization.js";
export type { CancelOptions, CancelResult } from "../nvme/command/cancel.js";
export type {
  BitBucket,
  CommandData,
  DataList,
  DataRange,
  NvmeCommand,
  NvmeCompletion,
  SglOptions,
} from "../nvme/command/command.js";
export type { CommandOptions, IoCommandOptions } from "../nvme/command/command-options.js";
export { NvmeError, NvmeProtocolError, NvmeResetError, retryDelayMs } from "../nvme/command/error.js";
export type { IdentifyOptions } from "../nvme/command/identify.js";
export type {
  LbaStatusDescriptor,
  LbaStatusElement,
  LbaStatusList,
  LbaStatusLog,
} from "../nvme/command/lba-status.js";
export type { NvmeQueue, QueueOptions, RingBuffers } from "../nvme/command/queue.js";
export type { QueueStatistics } from "../nvme/command/queue-statistics.js";
export type { CommandTrace, CompletionTrace, LifecycleTrace } from "../nvme/command/trace.js";
export { NvmeController } from "../nvme/controller.js";
export type { SetFeature } from "../nvme/engine/feature-restore.js";
export type { NvmeLifecycle, NvmeLifecycleEvents, NvmeState, RetryPolicy } from "../nvme/engine/lifecycle.js";
export type { NvmeOptions } from "../nvme/engine/options.js";
export { type BootPartitionOptions, NvmeBootPartitions } from "../nvme/memory/boot-partitions.js";
export { type CmbProperties, ControllerMemoryBuffer } from "../nvme/memory/cmb.js";
export { PersistentMemoryRegion, type PmrProperties } from "../nvme/memory/pmr.js";
export { type BatchCommand, type BatchOptions, NvmeBatch } from "../nvme/namespace/batch.js";
export type { CompareAndWriteOptions } from "../nvme/namespace/compare.js";
export { contentsOf } from "../nvme/namespace/contents.js";
export type { CopyOptions } from "../nvme/namespace/copy.js";
export type { BlockRange, CopyRange, DatasetAttributes, DatasetRange } from "../nvme/namespace/dataset.js";
export type {
  FileIoOptions,
  FileRead,
  FileReadParts,
  FileReadStreamOptions,
  FileWriteStreamOptions,
  FileWritten,
  FileWrittenParts,
  NvmeFile,
} from "../nvme/namespace/file.js";
export type { IoOptions, ProtectionOptions } from "../nvme/namespace/io-options.js";
export {
  KeyValueNamespace,
  type NvmeKey,
  type RetrieveOptions,
  type StoreOptions,
} from "../nvme/namespace/key-value-namespace.js";
export type { LbaStatusOptions } from "../nvme/namespace/lba-status.js";
export { NvmeNamespace } from "../nvme/namespace/namespace.js";
export { NvmePlacement, type ReclaimUnitHandle } from "../nvme/namespace/placement.js";
export type { BlockData, PlainBytes } from "../nvme/namespace/plain-bytes.js";
export { NvmeReservations, type Registrant, type ReservationStatus } from "../nvme/namespace/reservations.js";
export type { ReadStreamOptions, WriteStreamOptions } from "../nvme/namespace/streams.js";
export type { ChunkOptions, NvmeChunk, RangeOptions } from "../nvme/namespace/transfers.js";
export {
  type Zone,
  type ZoneChoice,
  ZonedNamespace,
  type ZoneReportOptions,
  type ZoneStateName,
} from "../nvme/namespace/zoned-namespace.js";
export {
  NvmeOpal,
  type OpalLock,
  type OpalPassword,
  type OpalRange,
  type OpalRangeOptions,
} from "../nvme/opal/opal.js";
export { NvmeOpalError } from "../nvme/opal/session.js";
export { crc16, crc32c, crc64 } from "../nvme/protection/crc.js";
export {
  type ProtectionChecks,
  type ProtectionFormat,
  ProtectionInformation,
  type ProtectionTags,
} from "../nvme/protection/information.js";
export { CommandIds } from "../nvme/queues/command-ids.js";
export { CompletionQueue, CQE_WORDS } from "../nvme/queues/completion-queue.js";
export type { CompletionMode } from "../nvme/queues/completion-watch.js";
export { type HandedOver, HandedQueues } from "../nvme/queues/handed-queues.js";
export { RawController, type RawRingOptions } from "../nvme/queues/raw-controller.js";
export {
  NvmeRings,
  type RawCompletionQueue,
  type RawQueueOptions,
  type RawSubmissionQueue,
} from "../nvme/queues/rings.js";
export { writeIoEntry, writeRawEntry } from "../nvme/queues/submission-entry.js";
export { SQE_WORDS, SubmissionQueue } from "../nvme/queues/submission-queue.js";
export {
  type NvmeQuirk,
  type NvmeQuirkChoice,
  type NvmeQuirkName,
  nvmeQuirks,
} from "../nvme/quirks/quirks.js";
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
} from "../nvme/spec/capabilities.js";
export { type DirectiveState, DirectiveType, type StreamsParameters } from "../nvme/spec/directives.js";
export { type FdpEvent, FdpEventType, type FdpStatistics, ReclaimUnitHandleType } from "../nvme/spec/fdp.js";
export {
  BootPartitionProtection,
  Feature,
  FeatureCapabilities,
  type HostBehavior,
  type LbaRange,
  type PowerTransition,
  type PredictableLatencyConfig,
  WriteProtection,
} from "../nvme/spec/features.js";
export type {
  IdentifyController,
  IdentifyIndependentNamespace,
  IdentifyNamespace,
  IdentifyNvmController,
  IdentifyNvmNamespace,
  LbaFormat,
} from "../nvme/spec/identify.js";
export type { Domain, NamespaceGranularity, NvmSet } from "../nvme/spec/identify-lists.js";
export {
  type IdentifyKeyValueNamespace,
  type KeyValueFormat,
  KeyValueOpcode,
} from "../nvme/spec/key-value.js";
export {
  AnaState,
  CommandEffect,
  CommandEffects,
  CriticalWarning,
  type EnduranceGroupLog,
  type ErrorLogEntry,
  FeatureEffect,
  LogPageSupport,
  ManagementAddressType,
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
} from "../nvme/spec/log-pages.js";
export { NamespaceDescriptor, type NamespaceIdentifiers } from "../nvme/spec/namespace-descriptors.js";
export type { OpalDiscovery } from "../nvme/spec/opal/discovery.js";
export { OpalFeature, OpalStatus } from "../nvme/spec/opal/numbers.js";
export {
  AdminOpcode,
  AsyncEventInfo,
  AsyncEventType,
  BROADCAST_NSID,
  CancelAction,
  CommandSet,
  FeatureId,
  FeatureSelect,
  IdentifyCns,
  IO_DEAC,
  IO_FUA,
  IO_LIMITED_RETRY,
  IO_PRACT,
  IO_PRCHK_APP,
  IO_PRCHK_GUARD,
  IO_PRCHK_REF,
  IoOpcode,
  LogPageId,
  ZoneAction,
  ZoneReceiveAction,
} from "../nvme/spec/opcodes.js";
export type { PowerState } from "../nvme/spec/power-state.js";
export { QueueFlag, QueuePriority } from "../nvme/spec/queues.js";
export {
  ArbitrationMechanism,
  type Capabilities as NvmeCapabilities,
  CommandSetSelection,
  ControllerConfig,
  ControllerStatus,
  NvmeRegister,
} from "../nvme/spec/registers.js";
export type { ReservationType } from "../nvme/spec/reservations.js";
export { type RpmbConfiguration, RpmbRequest, RpmbResult } from "../nvme/spec/rpmb.js";
export { NvmeStatus, StatusCodeType } from "../nvme/spec/status.js";
export {
  type PrimaryControllerCapabilities,
  ResourceType,
  type SecondaryController,
  VirtualizationAction,
} from "../nvme/spec/virtualization.js";
export { type IdentifyZonedController, type IdentifyZonedNamespace, ZoneState } from "../nvme/spec/zoned.js";
