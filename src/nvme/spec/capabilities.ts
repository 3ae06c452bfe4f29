/** Capability bits in fields of Identify Controller and Identify Namespace (NVMe Base 2.x and NVM Command Set). */

import { checkArray, checkInteger, checkObject, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";

/** Fields of a number: a bit number for a flag, `[lowest bit, width]` for a number. */
export type BitTable = Readonly<Record<string, number | readonly [low: number, width: number]>>;

/** Result of {@link decodeBits}: a boolean for each flag, a number for each other field. */
export type Bits<T extends BitTable> = { readonly [K in keyof T]: T[K] extends number ? boolean : number };

/** Splits a number into the fields of a table, e.g. `decodeBits(nvme.identify.oacs, Oacs).format`. @throws ArgumentError */
export function decodeBits<T extends BitTable>(value: number, table: T): Bits<T> {
  checkInteger("value", value, 0, Number.MAX_SAFE_INTEGER);
  checkObject("table", table);
  const part = (low: number, width: number): number => Math.floor(value / 2 ** low) % 2 ** width;
  return Object.fromEntries(
    Object.entries(table).map(([name, place]) => [
      name,
      typeof place === "number" ? part(place, 1) === 1 : part(...checkPlace(name, place)),
    ]),
  ) as Bits<T>;
}

function checkPlace(name: string, place: readonly [number, number]): readonly [number, number] {
  checkArray(`table.${name}`, place);
  const [low, width] = place;
  checkInteger(`lowest bit of ${name}`, low, 0, 63);
  checkInteger(`width of ${name}`, width, 1, 53);
  return place;
}

/**
 * Combines fields into a number, the reverse of {@link decodeBits}. Fields left out are 0.
 * @throws ArgumentError if a value doesn't fit its field, or `table` has no such field
 */
export function encodeBits<T extends BitTable>(table: T, values: Partial<Bits<T>>): number {
  checkObject("table", table);
  checkObject("values", values);
  let encoded = 0;
  for (const [name, value] of Object.entries<boolean | number | undefined>(values)) {
    const place = Object.hasOwn(table, name) ? table[name] : undefined;
    if (place === undefined)
      throw new ArgumentError(`unknown field ${name}; the fields are ${Object.keys(table).join(", ")}`);
    if (value === undefined) continue;
    if (typeof place === "number") {
      if (typeof value !== "boolean")
        throw new ArgumentError(`${name} must be true or false, got ${show(value)}`);
      encoded += value ? 2 ** place : 0;
    } else {
      const [low, width] = checkPlace(name, place);
      if (typeof value !== "number") throw new ArgumentError(`${name} must be a number, got ${show(value)}`);
      encoded += checkInteger(name, value, 0, 2 ** width - 1) * 2 ** low;
    }
  }
  return encoded;
}

/** Optional Admin Command Support. */
export const Oacs = {
  /** Security Send and Security Receive are supported. */
  security: 0,
  /** Format NVM is supported. */
  format: 1,
  /** Firmware Commit and Firmware Image Download are supported. */
  firmware: 2,
  /** Namespace Management and Namespace Attachment are supported. */
  namespaceManagement: 3,
  /** Device Self-test is supported. */
  deviceSelfTest: 4,
  /** Directive Send and Directive Receive are supported. */
  directives: 5,
  /** NVMe-MI Send and NVMe-MI Receive are supported. */
  nvmeMi: 6,
  /** Virtualization Management is supported (controllers with SR-IOV). */
  virtualizationManagement: 7,
  /** Doorbell Buffer Config (shadow doorbells) is supported. */
  doorbellBufferConfig: 8,
  /** Get LBA Status is supported. */
  getLbaStatus: 9,
  /** Lockdown (command and feature lockdown) is supported. */
  lockdown: 10,
  /** The commands for host managed live migration are supported. */
  hostManagedLiveMigration: 11,
} as const satisfies BitTable;

/** Optional NVM Command Support. */
export const Oncs = {
  /** Compare is supported. */
  compare: 0,
  /** Write Uncorrectable is supported. */
  writeUncorrectable: 1,
  /** Dataset Management (including Deallocate) is supported. */
  datasetManagement: 2,
  /** Write Zeroes is supported. */
  writeZeroes: 3,
  /** Set Features accepts SV, and Get Features accepts SEL other than 0. */
  saveFeatures: 4,
  /** The four Reservation commands are supported. */
  reservations: 5,
  /** The Timestamp feature is supported. */
  timestamp: 6,
  /** Verify is supported. */
  verify: 7,
  /** Copy is supported. */
  copy: 8,
  /** The destination of a Copy is written as one atomic operation (NVMCSA). */
  copySingleAtomicity: 9,
  /** Every Copy that succeeds is a fast copy (NVMAFC). */
  allFastCopy: 10,
  /** Write Zeroes that deallocates has its own size limit, WZDSL. */
  writeZeroesDeallocate: 11,
  /** Write Zeroes accepts the flag that covers the whole namespace (NSZ). */
  namespaceZeroes: 12,
} as const satisfies BitTable;

/** Controller Multi-Path I/O and Namespace Sharing Capabilities. */
export const Cmic = {
  /** The subsystem may have more than one port. */
  multiplePorts: 0,
  /** The subsystem may have more than one controller. */
  multipleControllers: 1,
  /** The controller belongs to an SR-IOV virtual function. */
  virtualFunction: 2,
  /** The subsystem reports asymmetric namespace access (ANA). */
  asymmetricNamespaceAccess: 3,
} as const satisfies BitTable;

/** Optional Asynchronous Events Supported. */
export const Oaes = {
  /** Changes of attached namespaces' attributes are reported. */
  namespaceAttributes: 8,
  /** The start of a firmware activation is reported. */
  firmwareActivation: 9,
  /** Changes of ANA states are reported. */
  asymmetricNamespaceAccess: 11,
  /** Entries in the Predictable Latency Event Aggregate log are reported. */
  predictableLatency: 12,
  /** LBA Status Information alerts are reported. */
  lbaStatus: 13,
  /** Entries in the Endurance Group Event Aggregate log are reported. */
  enduranceGroup: 14,
  /** A normal shutdown of the NVM subsystem is reported. */
  normalShutdown: 15,
  /** Recovery from a temperature threshold, with hysteresis, is reported. */
  temperatureHysteresis: 16,
  /** Changes of reachability groups and associations are reported. */
  reachability: 17,
  /** Changes of allocated namespaces' attributes are reported. */
  allocatedNamespaceAttributes: 19,
  /** Changes of zone descriptors are reported. */
  zoneDescriptor: 27,
  /** Changes of the Discovery log page are reported. */
  discoveryLog: 31,
} as const satisfies BitTable;

/** Controller Attributes. */
export const Ctratt = {
  /** Host identifiers may be 128 bits long. */
  hostIdentifier128: 0,
  /** Background work may exceed the power of a non-operational state. */
  nonOperationalPowerStatePermissive: 1,
  /** NVM sets are supported. */
  nvmSets: 2,
  /** Read recovery levels are supported. */
  readRecoveryLevels: 3,
  /** Endurance groups are supported. */
  enduranceGroups: 4,
  /** Predictable latency mode is supported. */
  predictableLatency: 5,
  /** Any command restarts the keep-alive timer (TBKAS). */
  trafficBasedKeepAlive: 6,
  /** The Namespace Granularity list (CNS 16h) is supported. */
  namespaceGranularity: 7,
  /** A submission queue can be associated with an NVM set. */
  sqAssociations: 8,
  /** The UUID list (CNS 17h) is supported. */
  uuidList: 9,
  /** The subsystem has several domains. */
  multiDomain: 10,
  /** Capacity Management with configurations chosen from a list is supported. */
  fixedCapacity: 11,
  /** Capacity Management that creates groups and sets of a given capacity is supported. */
  variableCapacity: 12,
  /** Endurance groups can be deleted. */
  deleteEnduranceGroup: 13,
  /** NVM sets can be deleted. */
  deleteNvmSet: 14,
  /** Extended LBA formats (16 to 64 formats, larger guards) are supported. */
  extendedLbaFormats: 15,
  /** MDTS and the other size limits don't count interleaved metadata. */
  mdtsExcludesMetadata: 16,
  /** The use of the host memory buffer can be restricted to operational power states. */
  hostMemoryBufferRestriction: 17,
  /** The host identifier can't be changed while the host has a registration (RHII). */
  reservationsAndHostIdentifier: 18,
  /** Flexible Data Placement is supported. */
  flexibleDataPlacement: 19,
  /** The Power Limit feature is supported. */
  powerLimit: 20,
  /** Power measurement is supported. */
  powerMeasurement: 21,
  /** Voltage measurement is supported. */
  voltageMeasurement: 22,
} as const satisfies BitTable;

/** Log Page Attributes. */
export const Lpa = {
  /** The SMART / Health log exists for each namespace. */
  smartPerNamespace: 0,
  /** The Commands Supported and Effects log is supported. */
  commandEffects: 1,
  /** Get Log Page accepts a 32-bit length and an offset. */
  extendedData: 2,
  /** The Telemetry logs and the telemetry notice are supported. */
  telemetry: 3,
  /** The Persistent Event log is supported. */
  persistentEvents: 4,
  /** The Supported Log Pages and the Feature Identifiers Supported logs are supported. */
  supportedLogPages: 5,
  /** Telemetry logs may have data area 4. */
  telemetryDataArea4: 6,
} as const satisfies BitTable;

/** Firmware Updates. */
export const Frmw = {
  /** Slot 1 can't be written. */
  firstSlotReadOnly: 0,
  /** Number of firmware slots, 1 to 7. */
  slots: [1, 3],
  /** An image can be activated without a reset. */
  activationWithoutReset: 4,
  /** Overlapping firmware update sequences are detected (SMUD). */
  multipleUpdateDetection: 5,
} as const satisfies BitTable;

/** Format NVM Attributes. */
export const Fna = {
  /** A format concerns all namespaces. */
  formatAllNamespaces: 0,
  /** A secure erase that is part of a format concerns all namespaces. */
  eraseAllNamespaces: 1,
  /** A format can erase cryptographically. */
  cryptographicErase: 2,
  /** Format NVM doesn't accept the broadcast namespace id FFFFFFFFh. */
  noBroadcast: 3,
} as const satisfies BitTable;

/** Volatile Write Cache. */
export const Vwc = {
  /** A volatile write cache is present. */
  present: 0,
  /** Flush with namespace id FFFFFFFFh: 0 not reported, 2 rejected, 3 flushes all namespaces. */
  flushBehavior: [1, 2],
} as const satisfies BitTable;

/** Sanitize Capabilities. */
export const Sanicap = {
  /** Crypto erase is supported. */
  cryptoErase: 0,
  /** Block erase is supported. */
  blockErase: 1,
  /** Overwrite is supported. */
  overwrite: 2,
  /** The media verification state after a sanitize operation is supported. */
  mediaVerification: 3,
  /** Media verification is supported for the sanitizing of single namespaces. */
  namespaceVerification: 4,
  /** The controller doesn't honor "no deallocate after sanitize" (NDI). */
  noDeallocateInhibited: 29,
  /**
   * Whether media is modified after a sanitize without deallocation (NODMMAS): 0 not reported, 1 no, 2 yes.
   */
  noDeallocateModifiesMedia: [30, 2],
} as const satisfies BitTable;

/** Asymmetric Namespace Access Capabilities. */
export const Anacap = {
  /** The controller can report the optimized state. */
  optimized: 0,
  /** The controller can report the non-optimized state. */
  nonOptimized: 1,
  /** The controller can report the inaccessible state. */
  inaccessible: 2,
  /** The controller can report the persistent loss state. */
  persistentLoss: 3,
  /** The controller can report the change state. */
  change: 4,
  /** A namespace's ANAGRPID doesn't change while it is attached. */
  groupIdConstant: 6,
  /** Namespace Management accepts an ANAGRPID. */
  groupIdManagement: 7,
} as const satisfies BitTable;

/** Device Self-test Options. */
export const Dsto = {
  /** One self-test runs at a time in the subsystem; otherwise one for each controller. */
  one: 0,
  /** The host-initiated refresh operation is supported. */
  hostInitiatedRefresh: 1,
} as const satisfies BitTable;

/** Host Controlled Thermal Management Attributes. */
export const Hctma = {
  /** The Host Controlled Thermal Management feature is supported. */
  supported: 0,
} as const satisfies BitTable;

/** Autonomous Power State Transition Attributes. */
export const Apsta = {
  /** The Autonomous Power State Transition feature is supported. */
  supported: 0,
} as const satisfies BitTable;

/** Namespace Write Protection Capabilities. */
export const Nwpc = {
  /** Namespaces can be write-protected, and unprotected again. */
  writeProtect: 0,
  /** Namespaces can be write-protected until the next power cycle. */
  untilPowerCycle: 1,
  /** Namespaces can be write-protected permanently. */
  permanent: 2,
} as const satisfies BitTable;

/** SGL Support. */
export const Sgls = {
  /**
   * 0: SGLs aren't supported; 1: supported without alignment; 2: data blocks are aligned to dwords and a
   * multiple of them.
   */
  support: [0, 2],
  /** Keyed SGL data block descriptors are supported. */
  keyed: 2,
  /** Bit bucket descriptors are supported. */
  bitBucket: 16,
  /** A contiguous metadata buffer may be aligned to bytes. */
  metadataByteAligned: 17,
  /** An SGL may describe more than the command transfers. */
  oversize: 18,
  /** The metadata pointer may name an SGL segment. */
  metadataSegment: 19,
  /** The address of a data block descriptor may be an offset (in-capsule data). */
  offset: 20,
  /** The transport SGL data block descriptor is supported. */
  transport: 21,
} as const satisfies BitTable;

/** Namespace Features. */
export const Nsfeat = {
  /** The namespace is thinly provisioned: NCAP may be below NSZE. */
  thinProvisioning: 0,
  /** NAWUN, NAWUPF and NACWU are valid for this namespace. */
  namespaceAtomics: 1,
  /** Reads of deallocated or unwritten blocks can be made to fail. */
  deallocatedError: 2,
  /** NGUID and EUI64 are never used again for another namespace. */
  idsNotReused: 3,
  /** Whether NPWG, NPWA, NPDG, NPDA and NOWS (or their large forms) are valid; 0: none is. */
  optimalSizes: [4, 2],
} as const satisfies BitTable;

/** Formatted LBA Size: the LBA format in use, one of up to 64. */
export const Flbas = {
  /** Bits 3:0 of the LBA format's index. */
  formatLow: [0, 4],
  /** Metadata is interleaved with the data, after each block. */
  metadataExtended: 4,
  /** Bits 5:4 of the LBA format's index, used with more than 16 formats. */
  formatHigh: [5, 2],
} as const satisfies BitTable;

/** Metadata Capabilities. */
export const Mc = {
  /** Metadata can be interleaved with the data. */
  extended: 0,
  /** Metadata can be transferred in a separate buffer. */
  separate: 1,
} as const satisfies BitTable;

/** End-to-end Data Protection Capabilities. */
export const Dpc = {
  /** Protection information type 1 is supported. */
  type1: 0,
  /** Protection information type 2 is supported. */
  type2: 1,
  /** Protection information type 3 is supported. */
  type3: 2,
  /** Protection information may be in the first bytes of the metadata. */
  first: 3,
  /** Protection information may be in the last bytes of the metadata. */
  last: 4,
} as const satisfies BitTable;

/** End-to-end Data Protection Type Settings. */
export const Dps = {
  /** Type of protection information, 1 to 3; 0: disabled. */
  type: [0, 3],
  /** Protection information is in the first bytes of the metadata; otherwise in the last. */
  first: 3,
} as const satisfies BitTable;

/** Namespace Multi-path I/O and Namespace Sharing Capabilities. */
export const Nmic = {
  /** The namespace may be attached to several controllers. */
  shared: 0,
  /** The namespace is dispersed over several NVM subsystems. */
  dispersed: 1,
} as const satisfies BitTable;

/** Reservation Capabilities. */
export const Rescap = {
  /** Reservations can persist through a loss of power. */
  persistThroughPowerLoss: 0,
  /** The Write Exclusive type is supported. */
  writeExclusive: 1,
  /** The Exclusive Access type is supported. */
  exclusiveAccess: 2,
  /** The Write Exclusive - Registrants Only type is supported. */
  writeExclusiveRegistrantsOnly: 3,
  /** The Exclusive Access - Registrants Only type is supported. */
  exclusiveAccessRegistrantsOnly: 4,
  /** The Write Exclusive - All Registrants type is supported. */
  writeExclusiveAllRegistrants: 5,
  /** The Exclusive Access - All Registrants type is supported. */
  exclusiveAccessAllRegistrants: 6,
  /** IEKEY works as defined in revision 1.3 and later. */
  ignoreExistingKey: 7,
} as const satisfies BitTable;

/** Format Progress Indicator. */
export const Fpi = {
  /** Percentage of the namespace that remains to be formatted. */
  remainingPercent: [0, 7],
  /** The format progress is reported. */
  supported: 7,
} as const satisfies BitTable;

/** Deallocate Logical Block Features. */
export const Dlfeat = {
  /** What reads of deallocated blocks return: 0 not reported, 1 zeros, 2 ones. */
  reads: [0, 3],
  /** Write Zeroes accepts the deallocate bit (DEAC). */
  writeZeroes: 3,
  /** The guard of a deallocated block is the CRC of the data that a read returns; otherwise all ones. */
  guardIsCrc: 4,
} as const satisfies BitTable;
