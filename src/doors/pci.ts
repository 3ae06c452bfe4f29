/**
 * PCI functions: enumeration, binding, configuration space, BARs, interrupts, and register access in the right order.
 *
 * @packageDocumentation
 */

export type { ListenOptions, Subscription } from "../core/listeners.js";
export type { LentBackend } from "../lending/messages.js";
export type { LendingRule } from "../lending/server/rules.js";
export {
  DeviceServer,
  type DeviceServerOptions,
  type LendingEvent,
  type LentDevice,
  type LoanEvent,
  type RefusalEvent,
} from "../lending/server/server.js";
export { parseBdf } from "../pci/address/bdf.js";
export type { CdevDescriptors, DeviceDescriptors, GroupDescriptors } from "../pci/backends/given.js";
export { Bar } from "../pci/bar.js";
export {
  type AsyncBindOptions,
  type AsyncUnbindOptions,
  BindError,
  type BindOptions,
  bindToVfio,
  bindToVfioAsync,
  type UnbindOptions,
  unbindFromVfio,
  unbindFromVfioAsync,
  VfioBinding,
} from "../pci/bind.js";
export type { PciCapabilityName, PciCapabilityRegisters } from "../pci/capabilities/all.js";
export type { PciCapabilityEntry } from "../pci/capabilities/list.js";
export { PciCapabilityId, PciExtendedCapabilityId } from "../pci/capability-ids.js";
export { ConfigReader, type PciCapabilityDump, type PciConfigDump } from "../pci/config-reader.js";
export { ConfigSnapshot } from "../pci/config-snapshot.js";
export { ConfigSpace, PciCommand, PciRegister } from "../pci/config-space.js";
export { type PciDetails, readPciDetails, readVpd } from "../pci/details/details.js";
export type { PciRegion, PciRegions, PciRomInfo, PciWindow } from "../pci/details/regions.js";
export { type PciVpd, type PciVpdField, parseVpd } from "../pci/details/vpd.js";
export { type AsyncResetOptions, PciDevice, type PciOpenOptions, type ResetOptions } from "../pci/device.js";
export type { PciHeader, PciHeaderKind } from "../pci/header.js";
export type { InterruptVector, InterruptWaitOptions } from "../pci/interrupt-vector.js";
export { type InterruptKind, type InterruptOptions, Interrupts } from "../pci/interrupts.js";
export {
  createMediatedDevice,
  listMediatedDevices,
  listMediatedParents,
  MediatedDevice,
  type MediatedDeviceInfo,
  type MediatedOptions,
  type MediatedParent,
  type MediatedRemoval,
  type MediatedType,
  removeMediatedDevice,
} from "../pci/mediated-devices.js";
export type { BackendName } from "../pci/open.js";
export type { DevicePower, PowerState } from "../pci/power.js";
export { listPciFunctions, type PciBarInfo, type PciFunction, readPciFunction } from "../pci/sysfs.js";
export { blockDevices, partitions } from "../pci/usage/disks.js";
export { usersOf } from "../pci/usage/users.js";
export {
  createVirtualFunctions,
  removeVirtualFunctions,
  type VirtualFunctionOptions,
  type VirtualFunctionRemoval,
  VirtualFunctions,
} from "../pci/virtual-functions.js";
export type { MappedRegisters, RegisterAccess } from "../registers/access.js";
export { RegisterArray } from "../registers/array.js";
export { RegisterBlock, registerBlock } from "../registers/block.js";
export {
  type ArraySpec,
  type BlockSpec,
  type HalvesOrder,
  type NestedSpec,
  nested,
  type RegisterOptions,
  type RegisterSpec,
  type RegisterWidth,
  reg8,
  reg16,
  reg32,
  reg64,
  repeated,
} from "../registers/declaration.js";
export type { RegisterField } from "../registers/field.js";
export {
  bit,
  bits,
  choice,
  type FieldOptions,
  type FieldSpec,
  type FieldSpecs,
  type RegisterRights,
} from "../registers/field-spec.js";
export type { DumpedRegister } from "../registers/register.js";
export type {
  FieldValue,
  ModifiableRegister,
  ReadableRegister,
  RegisterInfo,
  RegisterOf,
  RegistersOf,
  RegisterValue,
  WritableRegister,
} from "../registers/types.js";
export type { WaitOptions } from "../registers/wait.js";
export { RingCursor } from "../rings/cursor.js";
export { DescriptorLayout, descriptorLayout } from "../rings/layout.js";
export { DescriptorRing } from "../rings/ring.js";
export type {
  DescriptorSpec,
  DeviceSlotsOf,
  HalvesColumn,
  NarrowColumn,
  SlotColumn,
  SlotsOf,
  WritableColumn,
  WritableHalvesColumn,
} from "../rings/types.js";
export {
  acquire,
  fullFence,
  publish,
  readRegister,
  readRegister64,
  writeRegister,
  writeRegister64,
} from "../sys/mmio.js";
export type { Watch } from "../sys/watch.js";
export type {
  DeviceInfo,
  DeviceIo,
  DevicePresence,
  IrqInfo,
  RegionArea,
  RegionInfo,
} from "../vfio/device-io.js";
export type { AffectedDevice } from "../vfio/hot-reset.js";
export type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
export type { PciCapability } from "../vfio/pci-capabilities.js";
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
} from "../vfio/uapi.js";
