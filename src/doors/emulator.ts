/**
 * Devices in software, in this process or offered to others by vfio-user. Drivers don't need this door and start faster
 * without it.
 *
 * @packageDocumentation
 */

export { type EduFault, type EduOptions, EmulatedEdu } from "../emulator/edu/device.js";
export type { FaultCounting, InjectedFault } from "../emulator/faults/counter.js";
export { DeviceFaults, type DeviceFaultsOptions } from "../emulator/faults/device-faults.js";
export type { AccessPlace, DeviceFault, RegisterPlace, RegisterPlaces } from "../emulator/faults/options.js";
export { EmulatedNvme } from "../emulator/nvme/controller.js";
export { type FaultKind, type FaultOptions, faultFromText } from "../emulator/nvme/faults.js";
export { type CmbUse, cmbUses } from "../emulator/nvme/host/cmb-rules.js";
export type { HostMemoryUse } from "../emulator/nvme/host/host-memory-use.js";
export type { OddControllerOptions } from "../emulator/nvme/host/oddities.js";
export {
  type EmulatedFirmwareOptions,
  emulatedFirmware,
  type FirmwareReset,
} from "../emulator/nvme/medium/firmware-image.js";
export type { NvmeEmulatorOptions } from "../emulator/nvme/options.js";
export {
  type DeviceOrder,
  type EmulatorOrder,
  type EmulatorRequest,
  type EmulatorServerOptions,
  type InjectOrder,
  type OrderedFault,
  type RunningEmulator,
  startEmulator,
} from "../emulator/worker.js";
export type { AnaStateName } from "../nvme/spec/log-pages.js";
export { DeviceRegisters } from "../registers/device.js";
export type { DriverWrite, RegisterHandler } from "../registers/device-register.js";
export type { DeviceRegisterOf, DeviceRegistersOf, RegisterHandlers } from "../registers/device-types.js";
export type {
  ClientMemory,
  DeviceHost,
  DeviceMigration,
  DeviceVectors,
  EmulatedBar,
  EmulatedDevice,
  IoEventWrite,
  MappableArea,
  MemorySpan,
} from "../vfio-user/server/emulated-device.js";
export {
  type ConfigSpaceOptions,
  initialConfigSpace,
  type MsixOptions,
} from "../vfio-user/server/initial-config-space.js";
export { memoryBar } from "../vfio-user/server/memory-bar.js";
export { VfioUserServer, type VfioUserServerOptions } from "../vfio-user/server/server.js";
