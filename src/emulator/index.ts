/**
 * Devices in software, in this process or offered to others by vfio-user. A part of its own: a driver's program, which has no
 * use for them, starts without them.
 *
 * @packageDocumentation
 */

export type {
  ClientMemory,
  DeviceHost,
  DeviceMigration,
  EmulatedBar,
  EmulatedDevice,
  IoEventWrite,
  MappableArea,
  MemorySpan,
} from "../vfio-user/server/emulated-device.js";
export { VfioUserServer, type VfioUserServerOptions } from "../vfio-user/server/server.js";
export { type EduOptions, EmulatedEdu } from "./edu/device.js";
export type { AnaStateName } from "./nvme/commands/asymmetric-access.js";
export type { HostMemoryUse } from "./nvme/commands/host-memory-cache.js";
export { EmulatedNvme } from "./nvme/controller.js";
export { type FaultKind, type FaultOptions, faultFromText } from "./nvme/faults.js";
export { type CmbUse, cmbUses } from "./nvme/host/cmb-rules.js";
export {
  type EmulatedFirmwareOptions,
  emulatedFirmware,
  type FirmwareReset,
} from "./nvme/medium/firmware-image.js";
export type { NvmeEmulatorOptions } from "./nvme/options.js";
export {
  type EmulatorOrder,
  type EmulatorRequest,
  type RunningEmulator,
  startEmulator,
} from "./worker.js";
