/**
 * The host: what keeps a user from using a device, explained, with what mends it, and changes that can be taken back.
 *
 * @packageDocumentation
 */

export type { Activity, DeviceError, OpenDevice } from "../activity/read.js";
export { type ApplyOptions, applySteps } from "../host/changes/apply.js";
export { type ChangeList, type ChangeState, type HostChange, listChanges } from "../host/changes/changes.js";
export { HostChangeError } from "../host/changes/errors.js";
export type { RecordOptions } from "../host/changes/options.js";
export { type RestoredChange, type RestoreOptions, restoreChanges } from "../host/changes/restore.js";
export type { AttributeStep, ChangeStep, OwnerStep } from "../host/changes/steps.js";
export type { Leftover } from "../host/changes/take-back.js";
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
export type { HugePageFacts, HugePagePool, HugePagesOnNode } from "../host/facts/huge-pages.js";
export { type FixPlan, type FixPlanOptions, type PlannedFix, planFixes } from "../host/fix-plan.js";
export {
  type HugePageOptions,
  type HugePages,
  listHugePages,
  planHugePages,
  setHugePages,
} from "../host/huge-pages.js";
export {
  grantPermissions,
  type PermissionOptions,
  type PermissionPart,
  type PermissionPlan,
  type PermissionSubject,
  planPermissions,
  type RevokeOptions,
  revokePermissions,
} from "../host/permissions.js";
export {
  bindPersistently,
  endPersistentBinding,
  listPersistentBindings,
  type PersistentBindingEnd,
  type PersistentBindingOptions,
  type PersistentBindingPlan,
  type PersistentBindOptions,
  planPersistentBinding,
} from "../host/persistent-binding.js";
export { type DeviceInUse, type DeviceProcess, listDeviceProcesses } from "../host/processes.js";
export type { DeviceVerdict, HostBackend } from "../host/verdict.js";
