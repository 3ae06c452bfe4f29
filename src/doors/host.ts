/**
 * The host: what keeps a user from using a device, explained, with what mends it.
 *
 * @packageDocumentation
 */

export type {
  CheckResult,
  CheckState,
  CommandStep,
  FileStep,
  Fix,
  FixStep,
  ManualStep,
} from "../host/checks/check.js";
export { type DoctorOptions, type DoctorReport, doctor } from "../host/doctor.js";
export type { DeviceVerdict, HostBackend } from "../host/verdict.js";
