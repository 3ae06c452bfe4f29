/**
 * Status codes: NVMe Base 2.x, section "Status Code", with those of the NVM, Zoned Namespace and Key Value command sets.
 * Each has its number, the specification's name, and its meaning.
 */

/** Status Code Type 0: any command. */
export const genericStatus = {
  /** SCT 0, SC 00h: Successful Completion. */
  success: [0x00, "Successful Completion", "The command completed without error"],
  /** SCT 0, SC 01h: Invalid Command Opcode. */
  invalidOpcode: [0x01, "Invalid Command Opcode", "The controller has no command with this opcode"],
  /** SCT 0, SC 02h: Invalid Field in Command. */
  invalidField: [
    0x02,
    "Invalid Field in Command",
    "A field of the command is reserved, out of range or not supported",
  ],
  /** SCT 0, SC 03h: Command ID Conflict. */
  commandIdConflict: [
    0x03,
    "Command ID Conflict",
    "Another command with this identifier is still outstanding",
  ],
  /** SCT 0, SC 04h: Data Transfer Error. */
  dataTransferError: [
    0x04,
    "Data Transfer Error",
    "Data or metadata could not be transferred between memory and controller",
  ],
  /** SCT 0, SC 05h: Commands Aborted due to Power Loss Notification. */
  commandsAbortedDueToPowerLoss: [
    0x05,
    "Commands Aborted due to Power Loss Notification",
    "Power is about to be lost, and the controller aborted the command",
  ],
  /** SCT 0, SC 06h: Internal Error. */
  internalError: [0x06, "Internal Error", "An error occurred inside the controller"],
  /** SCT 0, SC 07h: Command Abort Requested. */
  commandAbortRequested: [0x07, "Command Abort Requested", "An Abort command aborted this command"],
  /** SCT 0, SC 08h: Command Aborted due to SQ Deletion. */
  commandAbortedDueToSqDeletion: [
    0x08,
    "Command Aborted due to SQ Deletion",
    "The submission queue of the command was deleted",
  ],
  /** SCT 0, SC 09h: Command Aborted due to Failed Fused Command. */
  commandAbortedDueToFailedFusedCommand: [
    0x09,
    "Command Aborted due to Failed Fused Command",
    "The other command of the fused pair failed",
  ],
  /** SCT 0, SC 0Ah: Command Aborted due to Missing Fused Command. */
  commandAbortedDueToMissingFusedCommand: [
    0x0a,
    "Command Aborted due to Missing Fused Command",
    "The other command of the fused pair was not found next to it",
  ],
  /** SCT 0, SC 0Bh: Invalid Namespace or Format. */
  invalidNamespace: [
    0x0b,
    "Invalid Namespace or Format",
    "The namespace or its format does not exist or does not fit the command",
  ],
  /** SCT 0, SC 0Ch: Command Sequence Error. */
  commandSequenceError: [
    0x0c,
    "Command Sequence Error",
    "The command may not come at this point of a sequence",
  ],
  /** SCT 0, SC 0Dh: Invalid SGL Segment Descriptor. */
  invalidSglSegmentDescriptor: [
    0x0d,
    "Invalid SGL Segment Descriptor",
    "A segment descriptor is in the wrong place or is invalid",
  ],
  /** SCT 0, SC 0Eh: Invalid Number of SGL Descriptors. */
  invalidNumberOfSglDescriptors: [
    0x0e,
    "Invalid Number of SGL Descriptors",
    "A segment's length and the descriptors in it do not agree",
  ],
  /** SCT 0, SC 0Fh: Data SGL Length Invalid. */
  dataSglLengthInvalid: [
    0x0f,
    "Data SGL Length Invalid",
    "The SGL describes more or less data than the command transfers",
  ],
  /** SCT 0, SC 10h: Metadata SGL Length Invalid. */
  metadataSglLengthInvalid: [
    0x10,
    "Metadata SGL Length Invalid",
    "The SGL describes more or less metadata than the command transfers",
  ],
  /** SCT 0, SC 11h: SGL Descriptor Type Invalid. */
  sglDescriptorTypeInvalid: [
    0x11,
    "SGL Descriptor Type Invalid",
    "The controller does not support this type of descriptor",
  ],
  /** SCT 0, SC 12h: Invalid Use of Controller Memory Buffer. */
  invalidUseOfControllerMemoryBuffer: [
    0x12,
    "Invalid Use of Controller Memory Buffer",
    "The controller memory buffer may not be used this way",
  ],
  /** SCT 0, SC 13h: PRP Offset Invalid. */
  prpOffsetInvalid: [0x13, "PRP Offset Invalid", "A PRP entry has an invalid offset in its page"],
  /** SCT 0, SC 14h: Atomic Write Unit Exceeded. */
  atomicWriteUnitExceeded: [
    0x14,
    "Atomic Write Unit Exceeded",
    "The write is longer than the atomic write unit",
  ],
  /** SCT 0, SC 15h: Operation Denied. */
  operationDenied: [0x15, "Operation Denied", "The host doesn't have the right to do this"],
  /** SCT 0, SC 16h: SGL Offset Invalid. */
  sglOffsetInvalid: [0x16, "SGL Offset Invalid", "An SGL descriptor's offset is not valid"],
  /** SCT 0, SC 18h: Host Identifier Inconsistent Format. */
  hostIdentifierInconsistentFormat: [
    0x18,
    "Host Identifier Inconsistent Format",
    "Hosts of the subsystem use identifiers of 64 and of 128 bits",
  ],
  /** SCT 0, SC 19h: Keep Alive Timer Expired. */
  keepAliveTimerExpired: [0x19, "Keep Alive Timer Expired", "The host sent no Keep Alive in time"],
  /** SCT 0, SC 1Ah: Keep Alive Timeout Invalid. */
  keepAliveTimeoutInvalid: [
    0x1a,
    "Keep Alive Timeout Invalid",
    "The controller doesn't support the requested time limit",
  ],
  /** SCT 0, SC 1Bh: Command Aborted due to Preempt and Abort. */
  commandAbortedDueToPreemptAndAbort: [
    0x1b,
    "Command Aborted due to Preempt and Abort",
    "Another host preempted this one's reservation and aborted its commands",
  ],
  /** SCT 0, SC 1Ch: Sanitize Failed. */
  sanitizeFailed: [0x1c, "Sanitize Failed", "The last sanitize operation failed and must be repeated first"],
  /** SCT 0, SC 1Dh: Sanitize In Progress. */
  sanitizeInProgress: [
    0x1d,
    "Sanitize In Progress",
    "The command is not allowed while a sanitize operation runs",
  ],
  /** SCT 0, SC 1Eh: SGL Data Block Granularity Invalid. */
  sglDataBlockGranularityInvalid: [
    0x1e,
    "SGL Data Block Granularity Invalid",
    "The length of a data block has to be a multiple of dwords or blocks",
  ],
  /** SCT 0, SC 1Fh: Command Not Supported for Queue in CMB. */
  commandNotSupportedForQueueInCmb: [
    0x1f,
    "Command Not Supported for Queue in CMB",
    "The queue is in the controller memory buffer, where this command isn't allowed",
  ],
  /** SCT 0, SC 20h: Namespace is Write Protected. */
  namespaceIsWriteProtected: [
    0x20,
    "Namespace is Write Protected",
    "The namespace is protected against writes",
  ],
  /** SCT 0, SC 21h: Command Interrupted. */
  commandInterrupted: [0x21, "Command Interrupted", "The controller was busy; the command can be sent again"],
  /** SCT 0, SC 22h: Transient Transport Error. */
  transientTransportError: [
    0x22,
    "Transient Transport Error",
    "The transport failed temporarily; the command can be sent again",
  ],
  /** SCT 0, SC 23h: Command Prohibited by Command and Feature Lockdown. */
  commandProhibitedByLockdown: [
    0x23,
    "Command Prohibited by Command and Feature Lockdown",
    "A Lockdown command prohibits this command",
  ],
  /** SCT 0, SC 24h: Admin Command Media Not Ready. */
  adminCommandMediaNotReady: [
    0x24,
    "Admin Command Media Not Ready",
    "The command needs the medium, which is not ready yet",
  ],
  /** SCT 0, SC 25h: Invalid Key Tag. */
  invalidKeyTag: [0x25, "Invalid Key Tag", "No encryption key has this tag"],
  /** SCT 0, SC 26h: Host Dispersed Namespace Support Not Enabled. */
  hostDispersedNamespaceSupportNotEnabled: [
    0x26,
    "Host Dispersed Namespace Support Not Enabled",
    "The host hasn't enabled its support of dispersed namespaces",
  ],
  /** SCT 0, SC 27h: Host Identifier Not Initialized. */
  hostIdentifierNotInitialized: [
    0x27,
    "Host Identifier Not Initialized",
    "The host must set its identifier first",
  ],
  /** SCT 0, SC 28h: Incorrect Key. */
  incorrectKey: [0x28, "Incorrect Key", "The encryption key is wrong"],
  /** SCT 0, SC 29h: FDP Disabled. */
  fdpDisabled: [0x29, "FDP Disabled", "Flexible Data Placement is off in the endurance group"],
  /** SCT 0, SC 2Ah: Invalid Placement Handle List. */
  invalidPlacementHandleList: [
    0x2a,
    "Invalid Placement Handle List",
    "A reclaim unit handle in the list doesn't exist or is listed twice",
  ],
  /** SCT 0, SC 80h: LBA Out of Range. */
  lbaOutOfRange: [0x80, "LBA Out of Range", "The range extends past the end of the namespace"],
  /** SCT 0, SC 81h: Capacity Exceeded. */
  capacityExceeded: [
    0x81,
    "Capacity Exceeded",
    "The namespace doesn't have enough capacity left for the write",
  ],
  /** SCT 0, SC 82h: Namespace Not Ready. */
  namespaceNotReady: [0x82, "Namespace Not Ready", "The namespace can't be used yet"],
  /** SCT 0, SC 83h: Reservation Conflict. */
  reservationConflict: [0x83, "Reservation Conflict", "Another host's reservation prohibits the command"],
  /** SCT 0, SC 84h: Format In Progress. */
  formatInProgress: [0x84, "Format In Progress", "The namespace is being formatted"],
  /** SCT 0, SC 85h: Invalid Value Size. */
  invalidValueSize: [0x85, "Invalid Value Size", "A value of this size can't be stored"],
  /** SCT 0, SC 86h: Invalid Key Size. */
  invalidKeySize: [0x86, "Invalid Key Size", "A key can't have this size"],
  /** SCT 0, SC 87h: KV Key Does Not Exist. */
  keyDoesNotExist: [0x87, "KV Key Does Not Exist", "The key doesn't exist"],
  /** SCT 0, SC 88h: Unrecovered Error. */
  unrecoveredError: [0x88, "Unrecovered Error", "The value could not be read or stored"],
  /** SCT 0, SC 89h: Key Exists. */
  keyExists: [0x89, "Key Exists", "The key already exists"],
} as const;

/** Status Code Type 1: the meaning of a code depends on the command. */
export const commandSpecificStatus = {
  /** SCT 1, SC 00h: Completion Queue Invalid. */
  completionQueueInvalid: [0x00, "Completion Queue Invalid", "The completion queue doesn't exist"],
  /** SCT 1, SC 01h: Invalid Queue Identifier. */
  invalidQueueIdentifier: [
    0x01,
    "Invalid Queue Identifier",
    "The queue identifier is in use, out of range or doesn't exist",
  ],
  /** SCT 1, SC 02h: Invalid Queue Size. */
  invalidQueueSize: [0x02, "Invalid Queue Size", "The queue has too many or too few entries"],
  /** SCT 1, SC 03h: Abort Command Limit Exceeded. */
  abortCommandLimitExceeded: [
    0x03,
    "Abort Command Limit Exceeded",
    "Too many Abort commands are outstanding",
  ],
  /** SCT 1, SC 05h: Asynchronous Event Request Limit Exceeded. */
  asynchronousEventRequestLimitExceeded: [
    0x05,
    "Asynchronous Event Request Limit Exceeded",
    "Too many Asynchronous Event Requests are outstanding",
  ],
  /** SCT 1, SC 06h: Invalid Firmware Slot. */
  invalidFirmwareSlot: [0x06, "Invalid Firmware Slot", "The slot doesn't exist or is read-only"],
  /** SCT 1, SC 07h: Invalid Firmware Image. */
  invalidFirmwareImage: [
    0x07,
    "Invalid Firmware Image",
    "The image isn't for this controller, or is incomplete",
  ],
  /** SCT 1, SC 08h: Invalid Interrupt Vector. */
  invalidInterruptVector: [0x08, "Invalid Interrupt Vector", "The interrupt vector doesn't exist"],
  /** SCT 1, SC 09h: Invalid Log Page. */
  invalidLogPage: [0x09, "Invalid Log Page", "The controller doesn't have this log page"],
  /** SCT 1, SC 0Ah: Invalid Format. */
  invalidFormat: [0x0a, "Invalid Format", "The format is not supported, or does not fit the other settings"],
  /** SCT 1, SC 0Bh: Firmware Activation Requires Conventional Reset. */
  firmwareActivationRequiresConventionalReset: [
    0x0b,
    "Firmware Activation Requires Conventional Reset",
    "The image is in its slot; it runs after a conventional PCI reset",
  ],
  /** SCT 1, SC 0Ch: Invalid Queue Deletion. */
  invalidQueueDeletion: [
    0x0c,
    "Invalid Queue Deletion",
    "A submission queue still uses the completion queue",
  ],
  /** SCT 1, SC 0Dh: Feature Identifier Not Saveable. */
  featureIdentifierNotSaveable: [
    0x0d,
    "Feature Identifier Not Saveable",
    "The controller can't save the value of this feature",
  ],
  /** SCT 1, SC 0Eh: Feature Not Changeable. */
  featureNotChangeable: [0x0e, "Feature Not Changeable", "The feature's value can't be changed"],
  /** SCT 1, SC 0Fh: Feature Not Namespace Specific. */
  featureNotNamespaceSpecific: [
    0x0f,
    "Feature Not Namespace Specific",
    "The feature belongs to the controller, not to a namespace",
  ],
  /** SCT 1, SC 10h: Firmware Activation Requires NVM Subsystem Reset. */
  firmwareActivationRequiresNvmSubsystemReset: [
    0x10,
    "Firmware Activation Requires NVM Subsystem Reset",
    "The image is in its slot; it runs after an NVM subsystem reset",
  ],
  /** SCT 1, SC 11h: Firmware Activation Requires Controller Level Reset. */
  firmwareActivationRequiresControllerLevelReset: [
    0x11,
    "Firmware Activation Requires Controller Level Reset",
    "The image is in its slot; it runs after a controller reset",
  ],
  /** SCT 1, SC 12h: Firmware Activation Requires Maximum Time Violation. */
  firmwareActivationRequiresMaximumTimeViolation: [
    0x12,
    "Firmware Activation Requires Maximum Time Violation",
    "An immediate activation would exceed the maximum time for firmware activation",
  ],
  /** SCT 1, SC 13h: Firmware Activation Prohibited. */
  firmwareActivationProhibited: [
    0x13,
    "Firmware Activation Prohibited",
    "The controller refuses to run this image",
  ],
  /** SCT 1, SC 14h: Overlapping Range. */
  overlappingRange: [0x14, "Overlapping Range", "Two ranges overlap"],
  /** SCT 1, SC 15h: Namespace Insufficient Capacity. */
  namespaceInsufficientCapacity: [
    0x15,
    "Namespace Insufficient Capacity",
    "The unallocated capacity is too small",
  ],
  /** SCT 1, SC 16h: Namespace Identifier Unavailable. */
  namespaceIdentifierUnavailable: [
    0x16,
    "Namespace Identifier Unavailable",
    "The maximum number of namespaces exists",
  ],
  /** SCT 1, SC 18h: Namespace Already Attached. */
  namespaceAlreadyAttached: [
    0x18,
    "Namespace Already Attached",
    "The namespace is attached to that controller",
  ],
  /** SCT 1, SC 19h: Namespace Is Private. */
  namespaceIsPrivate: [
    0x19,
    "Namespace Is Private",
    "The namespace can be attached to one controller at a time",
  ],
  /** SCT 1, SC 1Ah: Namespace Not Attached. */
  namespaceNotAttached: [0x1a, "Namespace Not Attached", "The namespace is not attached to that controller"],
  /** SCT 1, SC 1Bh: Thin Provisioning Not Supported. */
  thinProvisioningNotSupported: [
    0x1b,
    "Thin Provisioning Not Supported",
    "The capacity of a namespace must equal its size",
  ],
  /** SCT 1, SC 1Ch: Controller List Invalid. */
  controllerListInvalid: [
    0x1c,
    "Controller List Invalid",
    "The list isn't in order, or a controller in it doesn't exist",
  ],
  /** SCT 1, SC 1Dh: Device Self-test In Progress. */
  deviceSelfTestInProgress: [0x1d, "Device Self-test In Progress", "Another self-test is running"],
  /** SCT 1, SC 1Eh: Boot Partition Write Prohibited. */
  bootPartitionWriteProhibited: [0x1e, "Boot Partition Write Prohibited", "The boot partition is locked"],
  /** SCT 1, SC 1Fh: Invalid Controller Identifier. */
  invalidControllerIdentifier: [0x1f, "Invalid Controller Identifier", "No controller has this identifier"],
  /** SCT 1, SC 20h: Invalid Secondary Controller State. */
  invalidSecondaryControllerState: [
    0x20,
    "Invalid Secondary Controller State",
    "The secondary controller is in the wrong state (online or offline)",
  ],
  /** SCT 1, SC 21h: Invalid Number of Controller Resources. */
  invalidNumberOfControllerResources: [
    0x21,
    "Invalid Number of Controller Resources",
    "There aren't enough flexible resources",
  ],
  /** SCT 1, SC 22h: Invalid Resource Identifier. */
  invalidResourceIdentifier: [
    0x22,
    "Invalid Resource Identifier",
    "A resource doesn't exist or can't be used",
  ],
  /** SCT 1, SC 23h: Sanitize Prohibited While Persistent Memory Region is Enabled. */
  sanitizeProhibitedWhilePmrEnabled: [
    0x23,
    "Sanitize Prohibited While Persistent Memory Region is Enabled",
    "The persistent memory region must be disabled first",
  ],
  /** SCT 1, SC 24h: ANA Group Identifier Invalid. */
  anaGroupIdentifierInvalid: [0x24, "ANA Group Identifier Invalid", "The ANA group doesn't exist"],
  /** SCT 1, SC 25h: ANA Attach Failed. */
  anaAttachFailed: [0x25, "ANA Attach Failed", "The ANA state prohibits attaching the namespace"],
  /** SCT 1, SC 26h: Insufficient Capacity. */
  insufficientCapacity: [0x26, "Insufficient Capacity", "The capacity is too small for the requested object"],
  /** SCT 1, SC 27h: Namespace Attachment Limit Exceeded. */
  namespaceAttachmentLimitExceeded: [
    0x27,
    "Namespace Attachment Limit Exceeded",
    "No more namespaces can be attached",
  ],
  /** SCT 1, SC 28h: Prohibition of Command Execution Not Supported. */
  prohibitionOfCommandExecutionNotSupported: [
    0x28,
    "Prohibition of Command Execution Not Supported",
    "This command or feature can't be locked",
  ],
  /** SCT 1, SC 29h: I/O Command Set Not Supported. */
  ioCommandSetNotSupported: [
    0x29,
    "I/O Command Set Not Supported",
    "The controller does not have this command set",
  ],
  /** SCT 1, SC 2Ah: I/O Command Set Not Enabled. */
  ioCommandSetNotEnabled: [
    0x2a,
    "I/O Command Set Not Enabled",
    "The controller was enabled without this command set",
  ],
  /** SCT 1, SC 2Bh: I/O Command Set Combination Rejected. */
  ioCommandSetCombinationRejected: [
    0x2b,
    "I/O Command Set Combination Rejected",
    "These command sets can't be used together",
  ],
  /** SCT 1, SC 2Ch: Invalid I/O Command Set. */
  invalidIoCommandSet: [0x2c, "Invalid I/O Command Set", "The command set doesn't exist"],
  /** SCT 1, SC 2Dh: Identifier Unavailable. */
  identifierUnavailable: [0x2d, "Identifier Unavailable", "No identifier is left for the requested object"],
  /** SCT 1, SC 2Eh: Namespace Is Dispersed. */
  namespaceIsDispersed: [
    0x2e,
    "Namespace Is Dispersed",
    "The namespace is dispersed over several subsystems",
  ],
  /** SCT 1, SC 2Fh: Invalid Discovery Information. */
  invalidDiscoveryInformation: [
    0x2f,
    "Invalid Discovery Information",
    "The registered discovery information is invalid",
  ],
  /** SCT 1, SC 30h: Zoning Data Structure Locked. */
  zoningDataStructureLocked: [
    0x30,
    "Zoning Data Structure Locked",
    "Another host is changing the zoning data",
  ],
  /** SCT 1, SC 31h: Zoning Data Structure Not Found. */
  zoningDataStructureNotFound: [0x31, "Zoning Data Structure Not Found", "The zoning data doesn't exist"],
  /** SCT 1, SC 32h: Insufficient Discovery Resources. */
  insufficientDiscoveryResources: [0x32, "Insufficient Discovery Resources", "No more can be registered"],
  /** SCT 1, SC 33h: Requested Function Disabled. */
  requestedFunctionDisabled: [0x33, "Requested Function Disabled", "The function is disabled"],
  /** SCT 1, SC 34h: ZoneGroup Originator Invalid. */
  zoneGroupOriginatorInvalid: [
    0x34,
    "ZoneGroup Originator Invalid",
    "The zone group belongs to another originator",
  ],
  /** SCT 1, SC 35h: Invalid Host. */
  invalidHost: [0x35, "Invalid Host", "The host doesn't exist"],
  /** SCT 1, SC 36h: Invalid NVM Subsystem. */
  invalidNvmSubsystem: [0x36, "Invalid NVM Subsystem", "The NVM subsystem doesn't exist"],
  /** SCT 1, SC 37h: Invalid Controller Data Queue. */
  invalidControllerDataQueue: [
    0x37,
    "Invalid Controller Data Queue",
    "The controller data queue doesn't exist",
  ],
  /** SCT 1, SC 38h: Not Enough Resources. */
  notEnoughResources: [
    0x38,
    "Not Enough Resources",
    "The controller doesn't have enough resources at the moment",
  ],
  /** SCT 1, SC 39h: Controller Suspended. */
  controllerSuspended: [0x39, "Controller Suspended", "The controller is suspended"],
  /** SCT 1, SC 3Ah: Controller Not Suspended. */
  controllerNotSuspended: [0x3a, "Controller Not Suspended", "The controller must be suspended first"],
  /** SCT 1, SC 3Bh: Controller Data Queue Full. */
  controllerDataQueueFull: [
    0x3b,
    "Controller Data Queue Full",
    "The controller data queue is full, so changes can't be logged",
  ],
  /** SCT 1, SC 3Ch: Exceeds Maximum Namespace Sanitize. */
  exceedsMaximumNamespaceSanitize: [
    0x3c,
    "Exceeds Maximum Namespace Sanitize",
    "Too many namespaces are being sanitized",
  ],
  /** SCT 1, SC 3Eh: Invalid Power Limit. */
  invalidPowerLimit: [0x3e, "Invalid Power Limit", "The controller doesn't support this power limit"],
  /** SCT 1, SC 80h: Conflicting Attributes. */
  conflictingAttributes: [0x80, "Conflicting Attributes", "The command's attributes contradict each other"],
  /** SCT 1, SC 81h: Invalid Protection Information. */
  invalidProtectionInformation: [
    0x81,
    "Invalid Protection Information",
    "The protection settings do not fit the namespace's format",
  ],
  /** SCT 1, SC 82h: Attempted Write to Read Only Range. */
  attemptedWriteToReadOnlyRange: [0x82, "Attempted Write to Read Only Range", "The range can't be written"],
  /** SCT 1, SC 83h: Command Size Limit Exceeded. */
  commandSizeLimitExceeded: [
    0x83,
    "Command Size Limit Exceeded",
    "The command asks for more than the controller's limit",
  ],
  /** SCT 1, SC 84h: Invalid Command ID. */
  invalidCommandId: [0x84, "Invalid Command ID", "A Cancel command named itself"],
  /** SCT 1, SC 85h: Incompatible Namespace or Format. */
  incompatibleNamespace: [
    0x85,
    "Incompatible Namespace or Format",
    "Source and destination of the copy do not fit together",
  ],
  /** SCT 1, SC 86h: Fast Copy Not Possible. */
  fastCopyNotPossible: [
    0x86,
    "Fast Copy Not Possible",
    "The copy can't be done faster than by reading and writing",
  ],
  /** SCT 1, SC 87h: Overlapping I/O Range. */
  overlappingIoRange: [0x87, "Overlapping I/O Range", "A source range overlaps the destination"],
  /** SCT 1, SC 88h: Namespace Not Reachable. */
  namespaceNotReachable: [0x88, "Namespace Not Reachable", "The controller can't reach the other namespace"],
  /** SCT 1, SC 89h: Insufficient Resources. */
  insufficientResources: [
    0x89,
    "Insufficient Resources",
    "The controller doesn't have enough resources for this copy",
  ],
  /** SCT 1, SC B6h: Invalid Zone Operation Request. */
  invalidZoneOperationRequest: [
    0xb6,
    "Invalid Zone Operation Request",
    "The operation requires, or doesn't allow, a zone random write area",
  ],
  /** SCT 1, SC B7h: ZRWA Resources Unavailable. */
  zrwaResourcesUnavailable: [0xb7, "ZRWA Resources Unavailable", "No zone random write area is free"],
  /** SCT 1, SC B8h: Zone Boundary Error. */
  zoneBoundaryError: [0xb8, "Zone Boundary Error", "The range extends past the end of its zone"],
  /** SCT 1, SC B9h: Zone Is Full. */
  zoneIsFull: [0xb9, "Zone Is Full", "The zone can't take more writes until it is reset"],
  /** SCT 1, SC BAh: Zone Is Read Only. */
  zoneIsReadOnly: [0xba, "Zone Is Read Only", "The zone can't be written any more"],
  /** SCT 1, SC BBh: Zone Is Offline. */
  zoneIsOffline: [0xbb, "Zone Is Offline", "The zone can't be read or written any more"],
  /** SCT 1, SC BCh: Zone Invalid Write. */
  zoneInvalidWrite: [0xbc, "Zone Invalid Write", "The write does not begin at the write pointer"],
  /** SCT 1, SC BDh: Too Many Active Zones. */
  tooManyActiveZones: [0xbd, "Too Many Active Zones", "The limit of active zones is reached"],
  /** SCT 1, SC BEh: Too Many Open Zones. */
  tooManyOpenZones: [0xbe, "Too Many Open Zones", "The limit of open zones is reached"],
  /** SCT 1, SC BFh: Invalid Zone State Transition. */
  invalidZoneStateTransition: [
    0xbf,
    "Invalid Zone State Transition",
    "The zone can't change from its state to the requested one",
  ],
} as const;

/** Status Code Type 2: data and its protection. */
export const mediaStatus = {
  /** SCT 2, SC 80h: Write Fault. */
  writeFault: [0x80, "Write Fault", "The data could not be written to the medium"],
  /** SCT 2, SC 81h: Unrecovered Read Error. */
  unrecoveredReadError: [0x81, "Unrecovered Read Error", "The data could not be read from the medium"],
  /** SCT 2, SC 82h: End-to-end Guard Check Error. */
  endToEndGuardCheckError: [0x82, "End-to-end Guard Check Error", "The guard doesn't match the data"],
  /** SCT 2, SC 83h: End-to-end Application Tag Check Error. */
  endToEndApplicationTagCheckError: [
    0x83,
    "End-to-end Application Tag Check Error",
    "The application tag is not the expected one",
  ],
  /** SCT 2, SC 84h: End-to-end Reference Tag Check Error. */
  endToEndReferenceTagCheckError: [
    0x84,
    "End-to-end Reference Tag Check Error",
    "The reference tag is not the expected one",
  ],
  /** SCT 2, SC 85h: Compare Failure. */
  compareFailure: [0x85, "Compare Failure", "The data on the medium differs"],
  /** SCT 2, SC 86h: Access Denied. */
  accessDenied: [0x86, "Access Denied", "The range is locked by its owner"],
  /** SCT 2, SC 87h: Deallocated or Unwritten Logical Block. */
  deallocatedOrUnwrittenLogicalBlock: [
    0x87,
    "Deallocated or Unwritten Logical Block",
    "The block is deallocated or unwritten, and the host enabled errors for such reads",
  ],
  /** SCT 2, SC 88h: End-to-end Storage Tag Check Error. */
  endToEndStorageTagCheckError: [
    0x88,
    "End-to-end Storage Tag Check Error",
    "The storage tag is not the expected one",
  ],
} as const;

/** Status Code Type 3: paths to a namespace. */
export const pathStatus = {
  /** SCT 3, SC 00h: Internal Path Error. */
  internalPathError: [
    0x00,
    "Internal Path Error",
    "The controller couldn't reach the namespace because of an internal error",
  ],
  /** SCT 3, SC 01h: Asymmetric Access Persistent Loss. */
  asymmetricAccessPersistentLoss: [
    0x01,
    "Asymmetric Access Persistent Loss",
    "The namespace can't be reached by this controller any more",
  ],
  /** SCT 3, SC 02h: Asymmetric Access Inaccessible. */
  asymmetricAccessInaccessible: [
    0x02,
    "Asymmetric Access Inaccessible",
    "The namespace can't be reached by this controller now",
  ],
  /** SCT 3, SC 03h: Asymmetric Access Transition. */
  asymmetricAccessTransition: [
    0x03,
    "Asymmetric Access Transition",
    "The ANA state of this controller is changing",
  ],
  /** SCT 3, SC 60h: Controller Pathing Error. */
  controllerPathingError: [0x60, "Controller Pathing Error", "The controller detected a path error"],
  /** SCT 3, SC 70h: Host Pathing Error. */
  hostPathingError: [0x70, "Host Pathing Error", "The host detected a path error"],
  /** SCT 3, SC 71h: Command Aborted By Host. */
  commandAbortedByHost: [0x71, "Command Aborted By Host", "The host aborted the command"],
} as const;
