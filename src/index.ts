/**
 * What most programs need: PCI devices, memory they can reach, the NVMe driver, and the errors. Everything else has a door by
 * subject: `iova/dma`, `iova/pci`, `iova/nvme`, `iova/iommufd`, `iova/vfio`, `iova/vfio-user`, `iova/emulator` and `iova/host`.
 *
 * @packageDocumentation
 */

export type { IovaErrorCode } from "./core/codes.js";
export {
  ArgumentError,
  BusyError,
  ClosedError,
  ConfigError,
  DeviceGoneError,
  DeviceRequestedError,
  IovaError,
  StateError,
  SysError,
  type SysErrorContext,
  TimeoutError,
  UnsupportedError,
} from "./core/errors.js";
export type { Resource } from "./core/lifetime/resource.js";
export type { ListenOptions, Subscription } from "./core/listeners.js";
export type { DmaAccess } from "./dma/access.js";
export { DmaBuffer } from "./dma/buffer.js";
export { type Iova, type IovaRange, iova } from "./dma/iova/address.js";
export { IovaSpaceError } from "./dma/iova/error.js";
export type { DmaMapper } from "./dma/mapper.js";
export { MemlockError } from "./dma/memlock.js";
export { DmaPool, PoolExhaustedError } from "./dma/pool.js";
export { BorrowedBuffer } from "./dma/shared-buffer.js";
export { type AllocOptions, DmaSpace } from "./dma/space.js";
export { DmaWindow } from "./dma/window.js";
export { NvmeError, NvmeProtocolError, NvmeResetError } from "./nvme/command/error.js";
export { NvmeController } from "./nvme/controller.js";
export type { NvmeOptions } from "./nvme/engine/options.js";
export type { IoOptions } from "./nvme/namespace/io-options.js";
export { NvmeNamespace } from "./nvme/namespace/namespace.js";
export { ZonedNamespace } from "./nvme/namespace/zoned-namespace.js";
export { Bar } from "./pci/bar.js";
export {
  BindError,
  bindToVfio,
  bindToVfioAsync,
  unbindFromVfio,
  unbindFromVfioAsync,
  VfioBinding,
} from "./pci/bind.js";
export { ConfigSpace, PciCommand, PciRegister } from "./pci/config-space.js";
export { PciDevice, type PciOpenOptions } from "./pci/device.js";
export type { InterruptVector } from "./pci/interrupt-vector.js";
export { Interrupts } from "./pci/interrupts.js";
export type { BackendName } from "./pci/open.js";
export { listPciFunctions, type PciFunction, readPciFunction } from "./pci/sysfs.js";
export { MappedMemory } from "./sys/memory.js";
export type { Watch } from "./sys/watch.js";
export type { VfioUserOptions } from "./vfio-user/client/options.js";
