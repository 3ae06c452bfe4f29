/**
 * Status codes: NVMe Base 2.x, section "Status Code", with those of the NVM, Zoned Namespace and Key Value command sets.
 * Each has its number, the specification's name, and what it means.
 */

/** Status Code Type 0: any command. */
export const genericStatus = {
  success: [0x00, "Successful Completion", "The command completed without error"],
  invalidOpcode: [0x01, "Invalid Command Opcode", "The controller has no command with this opcode"],
  invalidField: [
    0x02,
    "Invalid Field in Command",
    "A field of the command is reserved, out of range or not supported",
  ],
  commandIdConflict: [
    0x03,
    "Command ID Conflict",
    "Another command with this identifier is still outstanding",
  ],
  dataTransferError: [
    0x04,
    "Data Transfer Error",
    "Data or metadata could not be transferred between memory and controller",
  ],
  commandsAbortedDueToPowerLoss: [
    0x05,
    "Commands Aborted due to Power Loss Notification",
    "Power is about to be lost, and the command was given up",
  ],
  internalError: [0x06, "Internal Error", "The controller met an error of its own"],
  commandAbortRequested: [0x07, "Command Abort Requested", "An Abort command ended it"],
  commandAbortedDueToSqDeletion: [
    0x08,
    "Command Aborted due to SQ Deletion",
    "Its submission queue was deleted",
  ],
  commandAbortedDueToFailedFusedCommand: [
    0x09,
    "Command Aborted due to Failed Fused Command",
    "The other command of the fused pair failed",
  ],
  commandAbortedDueToMissingFusedCommand: [
    0x0a,
    "Command Aborted due to Missing Fused Command",
    "The other command of the fused pair was not found next to it",
  ],
  invalidNamespace: [
    0x0b,
    "Invalid Namespace or Format",
    "The namespace or its format does not exist or does not fit the command",
  ],
  commandSequenceError: [
    0x0c,
    "Command Sequence Error",
    "The command may not come at this point of a sequence",
  ],
  invalidSglSegmentDescriptor: [
    0x0d,
    "Invalid SGL Segment Descriptor",
    "A segment descriptor is not where it may be, or is wrong in itself",
  ],
  invalidNumberOfSglDescriptors: [
    0x0e,
    "Invalid Number of SGL Descriptors",
    "A segment's length and the descriptors in it do not agree",
  ],
  dataSglLengthInvalid: [
    0x0f,
    "Data SGL Length Invalid",
    "The SGL describes more or less data than the command transfers",
  ],
  metadataSglLengthInvalid: [
    0x10,
    "Metadata SGL Length Invalid",
    "The SGL describes more or less metadata than the command transfers",
  ],
  sglDescriptorTypeInvalid: [
    0x11,
    "SGL Descriptor Type Invalid",
    "The controller does not support this type of descriptor",
  ],
  invalidUseOfControllerMemoryBuffer: [
    0x12,
    "Invalid Use of Controller Memory Buffer",
    "The controller memory buffer may not be used this way",
  ],
  prpOffsetInvalid: [0x13, "PRP Offset Invalid", "An entry has an offset in its page that it may not have"],
  atomicWriteUnitExceeded: [
    0x14,
    "Atomic Write Unit Exceeded",
    "The write is longer than what is written as one",
  ],
  operationDenied: [0x15, "Operation Denied", "The host has no right to do this"],
  sglOffsetInvalid: [0x16, "SGL Offset Invalid", "An SGL descriptor's offset is not valid"],
  hostIdentifierInconsistentFormat: [
    0x18,
    "Host Identifier Inconsistent Format",
    "Hosts of the subsystem use identifiers of 64 and of 128 bits",
  ],
  keepAliveTimerExpired: [0x19, "Keep Alive Timer Expired", "No Keep Alive came in time"],
  keepAliveTimeoutInvalid: [0x1a, "Keep Alive Timeout Invalid", "The time limit asked for is not possible"],
  commandAbortedDueToPreemptAndAbort: [
    0x1b,
    "Command Aborted due to Preempt and Abort",
    "Another host preempted this one's reservation and aborted its commands",
  ],
  sanitizeFailed: [
    0x1c,
    "Sanitize Failed",
    "The last sanitize operation failed, and has to be repeated first",
  ],
  sanitizeInProgress: [
    0x1d,
    "Sanitize In Progress",
    "The command is not allowed while a sanitize operation runs",
  ],
  sglDataBlockGranularityInvalid: [
    0x1e,
    "SGL Data Block Granularity Invalid",
    "The length of a data block has to be a multiple of dwords or blocks",
  ],
  commandNotSupportedForQueueInCmb: [
    0x1f,
    "Command Not Supported for Queue in CMB",
    "The queue is in the controller memory buffer, where this command can't be",
  ],
  namespaceIsWriteProtected: [
    0x20,
    "Namespace is Write Protected",
    "The namespace is protected against writes",
  ],
  commandInterrupted: [
    0x21,
    "Command Interrupted",
    "The controller was busy with something else; the command can be sent again",
  ],
  transientTransportError: [
    0x22,
    "Transient Transport Error",
    "The transport failed for a moment; the command can be sent again",
  ],
  commandProhibitedByLockdown: [
    0x23,
    "Command Prohibited by Command and Feature Lockdown",
    "A Lockdown command forbade it",
  ],
  adminCommandMediaNotReady: [
    0x24,
    "Admin Command Media Not Ready",
    "The command needs the medium, which is not ready yet",
  ],
  invalidKeyTag: [0x25, "Invalid Key Tag", "There is no encryption key under this tag"],
  hostDispersedNamespaceSupportNotEnabled: [
    0x26,
    "Host Dispersed Namespace Support Not Enabled",
    "The host has not said that it knows dispersed namespaces",
  ],
  hostIdentifierNotInitialized: [
    0x27,
    "Host Identifier Not Initialized",
    "The host has to set its identifier first",
  ],
  incorrectKey: [0x28, "Incorrect Key", "The encryption key is not the right one"],
  fdpDisabled: [0x29, "FDP Disabled", "Flexible Data Placement is off in the endurance group"],
  invalidPlacementHandleList: [
    0x2a,
    "Invalid Placement Handle List",
    "The list names a reclaim unit handle that is not there or is named twice",
  ],
  lbaOutOfRange: [0x80, "LBA Out of Range", "The range reaches beyond the namespace's end"],
  capacityExceeded: [0x81, "Capacity Exceeded", "The namespace has no room left for what should be written"],
  namespaceNotReady: [0x82, "Namespace Not Ready", "The namespace can't be used yet"],
  reservationConflict: [0x83, "Reservation Conflict", "Another host's reservation forbids the command"],
  formatInProgress: [0x84, "Format In Progress", "The namespace is being formatted"],
  invalidValueSize: [0x85, "Invalid Value Size", "A value of this size can't be stored"],
  invalidKeySize: [0x86, "Invalid Key Size", "A key can't have this size"],
  keyDoesNotExist: [0x87, "KV Key Does Not Exist", "There is no such key"],
  unrecoveredError: [0x88, "Unrecovered Error", "The value could not be read or stored"],
  keyExists: [0x89, "Key Exists", "The key is there already, and should not have been"],
} as const;

/** Status Code Type 1: what a code means depends on the command. */
export const commandSpecificStatus = {
  completionQueueInvalid: [0x00, "Completion Queue Invalid", "There is no such completion queue"],
  invalidQueueIdentifier: [
    0x01,
    "Invalid Queue Identifier",
    "The queue's number is in use, out of range or none",
  ],
  invalidQueueSize: [0x02, "Invalid Queue Size", "The queue has too many or too few entries"],
  abortCommandLimitExceeded: [
    0x03,
    "Abort Command Limit Exceeded",
    "Too many Abort commands are outstanding",
  ],
  asynchronousEventRequestLimitExceeded: [
    0x05,
    "Asynchronous Event Request Limit Exceeded",
    "Too many Asynchronous Event Requests are outstanding",
  ],
  invalidFirmwareSlot: [0x06, "Invalid Firmware Slot", "There is no such slot, or it is read-only"],
  invalidFirmwareImage: [
    0x07,
    "Invalid Firmware Image",
    "The image is not one for this controller, or incomplete",
  ],
  invalidInterruptVector: [0x08, "Invalid Interrupt Vector", "There is no such interrupt vector"],
  invalidLogPage: [0x09, "Invalid Log Page", "The controller has no such log page"],
  invalidFormat: [0x0a, "Invalid Format", "The format is not supported, or does not fit the other settings"],
  firmwareActivationRequiresConventionalReset: [
    0x0b,
    "Firmware Activation Requires Conventional Reset",
    "The image is in its slot; it runs after a conventional PCI reset",
  ],
  invalidQueueDeletion: [
    0x0c,
    "Invalid Queue Deletion",
    "A submission queue still uses the completion queue",
  ],
  featureIdentifierNotSaveable: [
    0x0d,
    "Feature Identifier Not Saveable",
    "The feature's value can't be kept over a reset",
  ],
  featureNotChangeable: [0x0e, "Feature Not Changeable", "The feature's value can't be changed"],
  featureNotNamespaceSpecific: [
    0x0f,
    "Feature Not Namespace Specific",
    "The feature is the controller's and not a namespace's",
  ],
  firmwareActivationRequiresNvmSubsystemReset: [
    0x10,
    "Firmware Activation Requires NVM Subsystem Reset",
    "The image is in its slot; it runs after an NVM subsystem reset",
  ],
  firmwareActivationRequiresControllerLevelReset: [
    0x11,
    "Firmware Activation Requires Controller Level Reset",
    "The image is in its slot; it runs after a controller reset",
  ],
  firmwareActivationRequiresMaximumTimeViolation: [
    0x12,
    "Firmware Activation Requires Maximum Time Violation",
    "Activation at once would take longer than the controller promises",
  ],
  firmwareActivationProhibited: [
    0x13,
    "Firmware Activation Prohibited",
    "The controller refuses to run this image",
  ],
  overlappingRange: [0x14, "Overlapping Range", "Two ranges overlap"],
  namespaceInsufficientCapacity: [
    0x15,
    "Namespace Insufficient Capacity",
    "There is not as much unallocated capacity",
  ],
  namespaceIdentifierUnavailable: [
    0x16,
    "Namespace Identifier Unavailable",
    "The number of namespaces is used up",
  ],
  namespaceAlreadyAttached: [
    0x18,
    "Namespace Already Attached",
    "The namespace is attached to that controller",
  ],
  namespaceIsPrivate: [
    0x19,
    "Namespace Is Private",
    "The namespace can be attached to one controller at a time",
  ],
  namespaceNotAttached: [0x1a, "Namespace Not Attached", "The namespace is not attached to that controller"],
  thinProvisioningNotSupported: [
    0x1b,
    "Thin Provisioning Not Supported",
    "A namespace's capacity has to be its size",
  ],
  controllerListInvalid: [
    0x1c,
    "Controller List Invalid",
    "The list has a controller that does not exist, or is not in order",
  ],
  deviceSelfTestInProgress: [0x1d, "Device Self-test In Progress", "Another self-test runs"],
  bootPartitionWriteProhibited: [0x1e, "Boot Partition Write Prohibited", "The boot partition is locked"],
  invalidControllerIdentifier: [0x1f, "Invalid Controller Identifier", "There is no controller with this id"],
  invalidSecondaryControllerState: [
    0x20,
    "Invalid Secondary Controller State",
    "The secondary controller has to be online, or offline, for this",
  ],
  invalidNumberOfControllerResources: [
    0x21,
    "Invalid Number of Controller Resources",
    "There are not as many flexible resources",
  ],
  invalidResourceIdentifier: [
    0x22,
    "Invalid Resource Identifier",
    "A resource is not there or can't be used",
  ],
  sanitizeProhibitedWhilePmrEnabled: [
    0x23,
    "Sanitize Prohibited While Persistent Memory Region is Enabled",
    "The persistent memory region has to be switched off first",
  ],
  anaGroupIdentifierInvalid: [0x24, "ANA Group Identifier Invalid", "There is no such ANA group"],
  anaAttachFailed: [0x25, "ANA Attach Failed", "The ANA state forbids attaching the namespace"],
  insufficientCapacity: [
    0x26,
    "Insufficient Capacity",
    "There is not as much capacity for what should be made",
  ],
  namespaceAttachmentLimitExceeded: [
    0x27,
    "Namespace Attachment Limit Exceeded",
    "No more namespaces can be attached",
  ],
  prohibitionOfCommandExecutionNotSupported: [
    0x28,
    "Prohibition of Command Execution Not Supported",
    "This command or feature can't be locked",
  ],
  ioCommandSetNotSupported: [
    0x29,
    "I/O Command Set Not Supported",
    "The controller does not have this command set",
  ],
  ioCommandSetNotEnabled: [
    0x2a,
    "I/O Command Set Not Enabled",
    "The controller was enabled without this command set",
  ],
  ioCommandSetCombinationRejected: [
    0x2b,
    "I/O Command Set Combination Rejected",
    "These command sets can't be used together",
  ],
  invalidIoCommandSet: [0x2c, "Invalid I/O Command Set", "There is no such command set"],
  identifierUnavailable: [
    0x2d,
    "Identifier Unavailable",
    "The identifiers for what should be made are used up",
  ],
  namespaceIsDispersed: [0x2e, "Namespace Is Dispersed", "The namespace lives in several subsystems"],
  invalidDiscoveryInformation: [0x2f, "Invalid Discovery Information", "What was registered is not valid"],
  zoningDataStructureLocked: [0x30, "Zoning Data Structure Locked", "Somebody else changes the zoning data"],
  zoningDataStructureNotFound: [0x31, "Zoning Data Structure Not Found", "There is no such zoning data"],
  insufficientDiscoveryResources: [0x32, "Insufficient Discovery Resources", "No more can be registered"],
  requestedFunctionDisabled: [0x33, "Requested Function Disabled", "The function is switched off"],
  zoneGroupOriginatorInvalid: [0x34, "ZoneGroup Originator Invalid", "The zone group is somebody else's"],
  invalidHost: [0x35, "Invalid Host", "There is no such host"],
  invalidNvmSubsystem: [0x36, "Invalid NVM Subsystem", "There is no such NVM subsystem"],
  invalidControllerDataQueue: [
    0x37,
    "Invalid Controller Data Queue",
    "There is no such controller data queue",
  ],
  notEnoughResources: [0x38, "Not Enough Resources", "The controller has not the resources for this now"],
  controllerSuspended: [0x39, "Controller Suspended", "The controller is suspended"],
  controllerNotSuspended: [0x3a, "Controller Not Suspended", "The controller has to be suspended first"],
  controllerDataQueueFull: [
    0x3b,
    "Controller Data Queue Full",
    "Changes can't be logged: the data queue is full",
  ],
  exceedsMaximumNamespaceSanitize: [
    0x3c,
    "Exceeds Maximum Namespace Sanitize",
    "Too many namespaces are being sanitized",
  ],
  invalidPowerLimit: [0x3e, "Invalid Power Limit", "The controller can't keep such a power limit"],
  conflictingAttributes: [0x80, "Conflicting Attributes", "The command's attributes contradict each other"],
  invalidProtectionInformation: [
    0x81,
    "Invalid Protection Information",
    "The protection settings do not fit the namespace's format",
  ],
  attemptedWriteToReadOnlyRange: [0x82, "Attempted Write to Read Only Range", "The range can't be written"],
  commandSizeLimitExceeded: [
    0x83,
    "Command Size Limit Exceeded",
    "The command asks for more than the controller's limit",
  ],
  incompatibleNamespace: [
    0x85,
    "Incompatible Namespace or Format",
    "Source and destination of the copy do not fit together",
  ],
  fastCopyNotPossible: [
    0x86,
    "Fast Copy Not Possible",
    "The copy can't be done faster than by reading and writing",
  ],
  overlappingIoRange: [0x87, "Overlapping I/O Range", "A source range overlaps the destination"],
  namespaceNotReachable: [0x88, "Namespace Not Reachable", "The controller can't reach the other namespace"],
  insufficientResources: [
    0x89,
    "Insufficient Resources",
    "The controller has not the resources for this copy",
  ],
  invalidZoneOperationRequest: [
    0xb6,
    "Invalid Zone Operation Request",
    "The operation needs a zone random write area, or forbids one",
  ],
  zrwaResourcesUnavailable: [0xb7, "ZRWA Resources Unavailable", "No zone random write area is free"],
  zoneBoundaryError: [0xb8, "Zone Boundary Error", "The range reaches beyond its zone"],
  zoneIsFull: [0xb9, "Zone Is Full", "The zone can't take more writes until it is reset"],
  zoneIsReadOnly: [0xba, "Zone Is Read Only", "The zone can't be written any more"],
  zoneIsOffline: [0xbb, "Zone Is Offline", "The zone can't be read or written any more"],
  zoneInvalidWrite: [0xbc, "Zone Invalid Write", "The write does not begin at the write pointer"],
  tooManyActiveZones: [0xbd, "Too Many Active Zones", "The limit of active zones is reached"],
  tooManyOpenZones: [0xbe, "Too Many Open Zones", "The limit of open zones is reached"],
  invalidZoneStateTransition: [
    0xbf,
    "Invalid Zone State Transition",
    "The zone can't go from its state to the one asked for",
  ],
} as const;

/** Status Code Type 2: data and its protection. */
export const mediaStatus = {
  writeFault: [0x80, "Write Fault", "The data could not be written to the medium"],
  unrecoveredReadError: [0x81, "Unrecovered Read Error", "The data could not be read from the medium"],
  endToEndGuardCheckError: [0x82, "End-to-end Guard Check Error", "The guard does not fit the data"],
  endToEndApplicationTagCheckError: [
    0x83,
    "End-to-end Application Tag Check Error",
    "The application tag is not the expected one",
  ],
  endToEndReferenceTagCheckError: [
    0x84,
    "End-to-end Reference Tag Check Error",
    "The reference tag is not the expected one",
  ],
  compareFailure: [0x85, "Compare Failure", "The data on the medium differs"],
  accessDenied: [0x86, "Access Denied", "The range is locked by its owner"],
  deallocatedOrUnwrittenLogicalBlock: [
    0x87,
    "Deallocated or Unwritten Logical Block",
    "The block holds nothing, and the host asked to be told",
  ],
  endToEndStorageTagCheckError: [
    0x88,
    "End-to-end Storage Tag Check Error",
    "The storage tag is not the expected one",
  ],
} as const;

/** Status Code Type 3: ways to a namespace. */
export const pathStatus = {
  internalPathError: [
    0x00,
    "Internal Path Error",
    "The controller could not reach the namespace, for a reason of its own",
  ],
  asymmetricAccessPersistentLoss: [
    0x01,
    "Asymmetric Access Persistent Loss",
    "The namespace can't be reached by this controller any more",
  ],
  asymmetricAccessInaccessible: [
    0x02,
    "Asymmetric Access Inaccessible",
    "The namespace can't be reached by this controller now",
  ],
  asymmetricAccessTransition: [
    0x03,
    "Asymmetric Access Transition",
    "The access by this controller is changing",
  ],
  controllerPathingError: [0x60, "Controller Pathing Error", "The controller found the path broken"],
  hostPathingError: [0x70, "Host Pathing Error", "The host found the path broken"],
  commandAbortedByHost: [0x71, "Command Aborted By Host", "The host gave the command up"],
} as const;
