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

const generic = {
  success: [0x00, "Successful Completion"],
  invalidOpcode: [0x01, "Invalid Command Opcode"],
  invalidField: [0x02, "Invalid Field in Command"],
  commandIdConflict: [0x03, "Command ID Conflict"],
  dataTransferError: [0x04, "Data Transfer Error"],
  commandsAbortedDueToPowerLoss: [0x05, "Commands Aborted due to Power Loss Notification"],
  internalError: [0x06, "Internal Error"],
  commandAbortRequested: [0x07, "Command Abort Requested"],
  commandAbortedDueToSqDeletion: [0x08, "Command Aborted due to SQ Deletion"],
  commandAbortedDueToFailedFusedCommand: [0x09, "Command Aborted due to Failed Fused Command"],
  commandAbortedDueToMissingFusedCommand: [0x0a, "Command Aborted due to Missing Fused Command"],
  invalidNamespace: [0x0b, "Invalid Namespace or Format"],
  commandSequenceError: [0x0c, "Command Sequence Error"],
  invalidSglSegmentDescriptor: [0x0d, "Invalid SGL Segment Descriptor"],
  invalidNumberOfSglDescriptors: [0x0e, "Invalid Number of SGL Descriptors"],
  dataSglLengthInvalid: [0x0f, "Data SGL Length Invalid"],
  metadataSglLengthInvalid: [0x10, "Metadata SGL Length Invalid"],
  sglDescriptorTypeInvalid: [0x11, "SGL Descriptor Type Invalid"],
  invalidUseOfControllerMemoryBuffer: [0x12, "Invalid Use of Controller Memory Buffer"],
  prpOffsetInvalid: [0x13, "PRP Offset Invalid"],
  atomicWriteUnitExceeded: [0x14, "Atomic Write Unit Exceeded"],
  operationDenied: [0x15, "Operation Denied"],
  sglOffsetInvalid: [0x16, "SGL Offset Invalid"],
  hostIdentifierInconsistentFormat: [0x18, "Host Identifier Inconsistent Format"],
  keepAliveTimerExpired: [0x19, "Keep Alive Timer Expired"],
  keepAliveTimeoutInvalid: [0x1a, "Keep Alive Timeout Invalid"],
  commandAbortedDueToPreemptAndAbort: [0x1b, "Command Aborted due to Preempt and Abort"],
  sanitizeFailed: [0x1c, "Sanitize Failed"],
  sanitizeInProgress: [0x1d, "Sanitize In Progress"],
  sglDataBlockGranularityInvalid: [0x1e, "SGL Data Block Granularity Invalid"],
  commandNotSupportedForQueueInCmb: [0x1f, "Command Not Supported for Queue in CMB"],
  namespaceIsWriteProtected: [0x20, "Namespace is Write Protected"],
  commandInterrupted: [0x21, "Command Interrupted"],
  transientTransportError: [0x22, "Transient Transport Error"],
  commandProhibitedByLockdown: [0x23, "Command Prohibited by Command and Feature Lockdown"],
  adminCommandMediaNotReady: [0x24, "Admin Command Media Not Ready"],
  lbaOutOfRange: [0x80, "LBA Out of Range"],
  capacityExceeded: [0x81, "Capacity Exceeded"],
  namespaceNotReady: [0x82, "Namespace Not Ready"],
  reservationConflict: [0x83, "Reservation Conflict"],
  formatInProgress: [0x84, "Format In Progress"],
} as const;

const commandSpecific = {
  completionQueueInvalid: [0x00, "Completion Queue Invalid"],
  invalidQueueIdentifier: [0x01, "Invalid Queue Identifier"],
  invalidQueueSize: [0x02, "Invalid Queue Size"],
  abortCommandLimitExceeded: [0x03, "Abort Command Limit Exceeded"],
  asynchronousEventRequestLimitExceeded: [0x05, "Asynchronous Event Request Limit Exceeded"],
  invalidFirmwareSlot: [0x06, "Invalid Firmware Slot"],
  invalidFirmwareImage: [0x07, "Invalid Firmware Image"],
  invalidInterruptVector: [0x08, "Invalid Interrupt Vector"],
  invalidLogPage: [0x09, "Invalid Log Page"],
  invalidFormat: [0x0a, "Invalid Format"],
  firmwareActivationRequiresConventionalReset: [0x0b, "Firmware Activation Requires Conventional Reset"],
  invalidQueueDeletion: [0x0c, "Invalid Queue Deletion"],
  featureIdentifierNotSaveable: [0x0d, "Feature Identifier Not Saveable"],
  featureNotChangeable: [0x0e, "Feature Not Changeable"],
  featureNotNamespaceSpecific: [0x0f, "Feature Not Namespace Specific"],
  firmwareActivationRequiresNvmSubsystemReset: [0x10, "Firmware Activation Requires NVM Subsystem Reset"],
  firmwareActivationRequiresControllerLevelReset: [
    0x11,
    "Firmware Activation Requires Controller Level Reset",
  ],
  firmwareActivationRequiresMaximumTimeViolation: [
    0x12,
    "Firmware Activation Requires Maximum Time Violation",
  ],
  firmwareActivationProhibited: [0x13, "Firmware Activation Prohibited"],
  overlappingRange: [0x14, "Overlapping Range"],
  namespaceInsufficientCapacity: [0x15, "Namespace Insufficient Capacity"],
  namespaceIdentifierUnavailable: [0x16, "Namespace Identifier Unavailable"],
  namespaceAlreadyAttached: [0x18, "Namespace Already Attached"],
  namespaceIsPrivate: [0x19, "Namespace Is Private"],
  namespaceNotAttached: [0x1a, "Namespace Not Attached"],
  thinProvisioningNotSupported: [0x1b, "Thin Provisioning Not Supported"],
  controllerListInvalid: [0x1c, "Controller List Invalid"],
  deviceSelfTestInProgress: [0x1d, "Device Self-test In Progress"],
  bootPartitionWriteProhibited: [0x1e, "Boot Partition Write Prohibited"],
  invalidControllerIdentifier: [0x1f, "Invalid Controller Identifier"],
  invalidSecondaryControllerState: [0x20, "Invalid Secondary Controller State"],
  invalidNumberOfControllerResources: [0x21, "Invalid Number of Controller Resources"],
  invalidResourceIdentifier: [0x22, "Invalid Resource Identifier"],
  ioCommandSetNotSupported: [0x29, "I/O Command Set Not Supported"],
  ioCommandSetNotEnabled: [0x2a, "I/O Command Set Not Enabled"],
  ioCommandSetCombinationRejected: [0x2b, "I/O Command Set Combination Rejected"],
  invalidIoCommandSet: [0x2c, "Invalid I/O Command Set"],
  identifierUnavailable: [0x2d, "Identifier Unavailable"],
  conflictingAttributes: [0x80, "Conflicting Attributes"],
  invalidProtectionInformation: [0x81, "Invalid Protection Information"],
  attemptedWriteToReadOnlyRange: [0x82, "Attempted Write to Read Only Range"],
  commandSizeLimitExceeded: [0x83, "Command Size Limit Exceeded"],
  zoneBoundaryError: [0xb8, "Zone Boundary Error"],
  zoneIsFull: [0xb9, "Zone Is Full"],
  zoneIsReadOnly: [0xba, "Zone Is Read Only"],
  zoneIsOffline: [0xbb, "Zone Is Offline"],
  zoneInvalidWrite: [0xbc, "Zone Invalid Write"],
  tooManyActiveZones: [0xbd, "Too Many Active Zones"],
  tooManyOpenZones: [0xbe, "Too Many Open Zones"],
  invalidZoneStateTransition: [0xbf, "Invalid Zone State Transition"],
} as const;

const media = {
  writeFault: [0x80, "Write Fault"],
  unrecoveredReadError: [0x81, "Unrecovered Read Error"],
  endToEndGuardCheckError: [0x82, "End-to-end Guard Check Error"],
  endToEndApplicationTagCheckError: [0x83, "End-to-end Application Tag Check Error"],
  endToEndReferenceTagCheckError: [0x84, "End-to-end Reference Tag Check Error"],
  compareFailure: [0x85, "Compare Failure"],
  accessDenied: [0x86, "Access Denied"],
  deallocatedOrUnwrittenLogicalBlock: [0x87, "Deallocated or Unwritten Logical Block"],
  endToEndStorageTagCheckError: [0x88, "End-to-end Storage Tag Check Error"],
} as const;

const path = {
  internalPathError: [0x00, "Internal Path Error"],
  asymmetricAccessPersistentLoss: [0x01, "Asymmetric Access Persistent Loss"],
  asymmetricAccessInaccessible: [0x02, "Asymmetric Access Inaccessible"],
  asymmetricAccessTransition: [0x03, "Asymmetric Access Transition"],
  controllerPathingError: [0x60, "Controller Pathing Error"],
  hostPathingError: [0x70, "Host Pathing Error"],
  commandAbortedByHost: [0x71, "Command Aborted By Host"],
} as const;

const tables = [generic, commandSpecific, media, path] as const;

type Entries = { readonly [key: string]: readonly [number, string] };
type Keys<T> = { readonly [K in keyof T]: number };

function numbersOf<T extends Entries>(type: number, entries: T): Keys<T> {
  const pairs = Object.entries(entries).map(([key, [code]]) => [key, (type << 8) | code] as const);
  return Object.fromEntries(pairs) as Keys<T>;
}

/** Status codes with their type, as they stand in bits 10:0 of the status field: `SCT << 8 | SC`. */
export const NvmeStatus = {
  ...numbersOf(0, generic),
  ...numbersOf(1, commandSpecific),
  ...numbersOf(2, media),
  ...numbersOf(3, path),
} as const;

/** Bits of the status field (DW3 of a completion, shifted right by 17) above the status itself. */
export const STATUS_MORE = 1 << 13;
export const STATUS_DO_NOT_RETRY = 1 << 14;

const names = new Map<number, string>(
  tables.flatMap((entries, type) =>
    Object.values<readonly [number, string]>(entries).map(([code, name]): [number, string] => [
      (type << 8) | code,
      name,
    ]),
  ),
);

export function statusTypeName(type: number): string {
  return typeNames[type] ?? `Status Code Type ${type}`;
}

/** The specification's name of a status code; its number in hex where it has none. */
export function statusName(type: number, code: number): string {
  return names.get((type << 8) | code) ?? `Status Code 0x${code.toString(16).padStart(2, "0")}`;
}
