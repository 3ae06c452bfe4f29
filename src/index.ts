/**
 * iova: the IOMMU for Node.js.
 *
 * @packageDocumentation
 */
export { DmaBuffer } from "./dma/buffer.js";
export { type Iova, type IovaRange, iova } from "./dma/iova.js";
export { IovaAllocator, IovaSpaceError } from "./dma/iova-allocator.js";
export type { DmaAccess, DmaMapper } from "./dma/mapper.js";
export { type AllocOptions, DmaSpace, type MapOptions } from "./dma/space.js";
export { Ioas, type IoasIovaRanges, type IoasMapOptions, type UserRange } from "./iommufd/ioas.js";
export { IoasMapper } from "./iommufd/ioas-mapper.js";
export { Iommufd, type RlimitMode } from "./iommufd/iommufd.js";
export type { CommandData, NvmeCommand, NvmeCompletion } from "./nvme/command.js";
export { NvmeController } from "./nvme/controller.js";
export { NvmeError, NvmeProtocolError } from "./nvme/error.js";
export { type IoOptions, NvmeNamespace } from "./nvme/namespace.js";
export type { NvmeOptions } from "./nvme/options.js";
export type { CompletionMode } from "./nvme/queue-pair.js";
export type { IdentifyController, IdentifyNamespace, LbaFormat } from "./nvme/spec/identify.js";
export type { BackendName } from "./pci/backend.js";
export { Bar } from "./pci/bar.js";
export { parseBdf } from "./pci/bdf.js";
export { BindError, bindToVfio, unbindFromVfio, VfioBinding } from "./pci/bind.js";
export { ConfigSpace, type PciCapability, PciCommand, PciRegister } from "./pci/config-space.js";
export { PciDevice, type PciOpenOptions } from "./pci/device.js";
export { type InterruptKind, type InterruptOptions, Interrupts } from "./pci/interrupts.js";
export { listPciFunctions, type PciBarInfo, type PciFunction, readPciFunction } from "./pci/sysfs.js";
export { blockDevices, partitions, usersOf } from "./pci/usage.js";
export {
  ArgumentError,
  BusyError,
  ClosedError,
  ConfigError,
  DeviceGoneError,
  IovaError,
  StateError,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "./sys/errors.js";
export { EventFd } from "./sys/eventfd.js";
export { MappedMemory, type MemoryOptions } from "./sys/memory.js";
export {
  acquire,
  publish,
  readRegister,
  readRegister64,
  writeRegister,
  writeRegister64,
} from "./sys/mmio.js";
export type { Resource } from "./sys/resource.js";
export type { Watch } from "./sys/watch.js";
export { VfioDevice } from "./vfio/device.js";
export type { DeviceInfo, DeviceIo, IrqInfo, RegionArea, RegionInfo } from "./vfio/device-io.js";
export { type IommuType, type Type1Info, VfioContainer } from "./vfio-legacy/container.js";
export { ContainerMapper } from "./vfio-legacy/container-mapper.js";
export { type GroupStatus, groupOf, VfioGroup } from "./vfio-legacy/group.js";
