/** Status codes by type: NVMe Base 2.x, section "Status Code", and NVM Command Set 1.x. */

/** Status Code Type, completion queue entry bits 27:25 of DW3. */
export const StatusCodeType = {
  generic: 0,
  commandSpecific: 1,
  mediaAndDataIntegrity: 2,
  pathRelated: 3,
  vendorSpecific: 7,
} as const;

const typeNames: Readonly<Record<number, string>> = {
  0: "Generic Command Status",
  1: "Command Specific Status",
  2: "Media and Data Integrity Errors",
  3: "Path Related Status",
  7: "Vendor Specific",
};

const generic: Readonly<Record<number, string>> = {
  0: "Successful Completion",
  1: "Invalid Command Opcode",
  2: "Invalid Field in Command",
  3: "Command ID Conflict",
  4: "Data Transfer Error",
  5: "Commands Aborted due to Power Loss Notification",
  6: "Internal Error",
  7: "Command Abort Requested",
  8: "Command Aborted due to SQ Deletion",
  9: "Command Aborted due to Failed Fused Command",
  10: "Command Aborted due to Missing Fused Command",
  11: "Invalid Namespace or Format",
  12: "Command Sequence Error",
  13: "Invalid SGL Segment Descriptor",
  14: "Invalid Number of SGL Descriptors",
  15: "Data SGL Length Invalid",
  16: "Metadata SGL Length Invalid",
  17: "SGL Descriptor Type Invalid",
  18: "Invalid Use of Controller Memory Buffer",
  19: "PRP Offset Invalid",
  20: "Atomic Write Unit Exceeded",
  21: "Operation Denied",
  22: "SGL Offset Invalid",
  24: "Host Identifier Inconsistent Format",
  25: "Keep Alive Timer Expired",
  26: "Keep Alive Timeout Invalid",
  27: "Command Aborted due to Preempt and Abort",
  28: "Sanitize Failed",
  29: "Sanitize In Progress",
  30: "SGL Data Block Granularity Invalid",
  31: "Command Not Supported for Queue in CMB",
  32: "Namespace is Write Protected",
  33: "Command Interrupted",
  34: "Transient Transport Error",
  35: "Command Prohibited by Command and Feature Lockdown",
  36: "Admin Command Media Not Ready",
  128: "LBA Out of Range",
  129: "Capacity Exceeded",
  130: "Namespace Not Ready",
  131: "Reservation Conflict",
  132: "Format In Progress",
};

const commandSpecific: Readonly<Record<number, string>> = {
  0: "Completion Queue Invalid",
  1: "Invalid Queue Identifier",
  2: "Invalid Queue Size",
  3: "Abort Command Limit Exceeded",
  5: "Asynchronous Event Request Limit Exceeded",
  6: "Invalid Firmware Slot",
  7: "Invalid Firmware Image",
  8: "Invalid Interrupt Vector",
  9: "Invalid Log Page",
  10: "Invalid Format",
  11: "Firmware Activation Requires Conventional Reset",
  12: "Invalid Queue Deletion",
  13: "Feature Identifier Not Saveable",
  14: "Feature Not Changeable",
  15: "Feature Not Namespace Specific",
  16: "Firmware Activation Requires NVM Subsystem Reset",
  17: "Firmware Activation Requires Controller Level Reset",
  18: "Firmware Activation Requires Maximum Time Violation",
  19: "Firmware Activation Prohibited",
  20: "Overlapping Range",
  21: "Namespace Insufficient Capacity",
  22: "Namespace Identifier Unavailable",
  24: "Namespace Already Attached",
  25: "Namespace Is Private",
  26: "Namespace Not Attached",
  27: "Thin Provisioning Not Supported",
  28: "Controller List Invalid",
  29: "Device Self-test In Progress",
  30: "Boot Partition Write Prohibited",
  31: "Invalid Controller Identifier",
  32: "Invalid Secondary Controller State",
  33: "Invalid Number of Controller Resources",
  34: "Invalid Resource Identifier",
  128: "Conflicting Attributes",
  129: "Invalid Protection Information",
  130: "Attempted Write to Read Only Range",
};

const media: Readonly<Record<number, string>> = {
  128: "Write Fault",
  129: "Unrecovered Read Error",
  130: "End-to-end Guard Check Error",
  131: "End-to-end Application Tag Check Error",
  132: "End-to-end Reference Tag Check Error",
  133: "Compare Failure",
  134: "Access Denied",
  135: "Deallocated or Unwritten Logical Block",
};

const path: Readonly<Record<number, string>> = {
  0: "Internal Path Error",
  1: "Asymmetric Access Persistent Loss",
  2: "Asymmetric Access Inaccessible",
  3: "Asymmetric Access Transition",
  96: "Controller Pathing Error",
  112: "Host Pathing Error",
  113: "Command Aborted By Host",
};

const codes: Readonly<Record<number, Readonly<Record<number, string>>>> = {
  0: generic,
  1: commandSpecific,
  2: media,
  3: path,
};

export function statusTypeName(type: number): string {
  return typeNames[type] ?? `Status Code Type ${type}`;
}

/** The specification's name of a status code; its number in hex where it has none. */
export function statusName(type: number, code: number): string {
  return codes[type]?.[code] ?? `Status Code 0x${code.toString(16).padStart(2, "0")}`;
}
