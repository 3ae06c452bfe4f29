/** Bits of Identify fields that programs branch on: NVMe Base 2.x, figures of Identify Controller and Namespace. */

import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";

/** A table of fields in a number: a bit's number for a flag, or `[lowest bit, width]` for a number. */
export type BitTable = Readonly<Record<string, number | readonly [low: number, width: number]>>;

/** What {@link decodeBits} gives: booleans for flags, numbers for the others. */
export type Bits<T extends BitTable> = { readonly [K in keyof T]: T[K] extends number ? boolean : number };

/** Takes a number apart by a table, e.g. `decodeBits(nvme.identify.oacs, Oacs).format`. */
export function decodeBits<T extends BitTable>(value: number, table: T): Bits<T> {
  const part = (low: number, width: number): number => Math.floor(value / 2 ** low) % 2 ** width;
  return Object.fromEntries(
    Object.entries(table).map(([name, place]) => [
      name,
      typeof place === "number" ? part(place, 1) === 1 : part(place[0], place[1]),
    ]),
  ) as Bits<T>;
}

/**
 * The opposite: a number of these fields; what is left out is 0.
 * @throws ArgumentError where a value doesn't fit, or there is no such field
 */
export function encodeBits<T extends BitTable>(table: T, values: Partial<Bits<T>>): number {
  let encoded = 0;
  for (const [name, value] of Object.entries<boolean | number | undefined>(values)) {
    const place = table[name];
    if (place === undefined) throw new ArgumentError(`there is no field ${name}`);
    if (value === undefined) continue;
    if (typeof place === "number") {
      if (typeof value !== "boolean") throw new ArgumentError(`${name} must be true or false, got ${value}`);
      encoded += value ? 2 ** place : 0;
    } else {
      const [low, width] = place;
      if (typeof value !== "number") throw new ArgumentError(`${name} must be a number, got ${value}`);
      encoded += checkInteger(name, value, 0, 2 ** width - 1) * 2 ** low;
    }
  }
  return encoded;
}

/** Optional Admin Command Support. */
export const Oacs = {
  security: 0,
  format: 1,
  firmware: 2,
  namespaceManagement: 3,
  deviceSelfTest: 4,
  directives: 5,
  nvmeMi: 6,
  virtualizationManagement: 7,
  doorbellBufferConfig: 8,
  getLbaStatus: 9,
  lockdown: 10,
  hostManagedLiveMigration: 11,
} as const satisfies BitTable;

/** Optional NVM Command Support. */
export const Oncs = {
  compare: 0,
  writeUncorrectable: 1,
  datasetManagement: 2,
  writeZeroes: 3,
  saveFeatures: 4,
  reservations: 5,
  timestamp: 6,
  verify: 7,
  copy: 8,
  copySingleAtomicity: 9,
  allFastCopy: 10,
  writeZeroesDeallocate: 11,
  namespaceZeroes: 12,
} as const satisfies BitTable;

/** Controller Multi-Path I/O and Namespace Sharing Capabilities. */
export const Cmic = {
  multiplePorts: 0,
  multipleControllers: 1,
  virtualFunction: 2,
  asymmetricNamespaceAccess: 3,
} as const satisfies BitTable;

/** Optional Asynchronous Events Supported. */
export const Oaes = {
  namespaceAttributes: 8,
  firmwareActivation: 9,
  asymmetricNamespaceAccess: 11,
  predictableLatency: 12,
  lbaStatus: 13,
  enduranceGroup: 14,
  normalShutdown: 15,
  temperatureHysteresis: 16,
  reachability: 17,
  allocatedNamespaceAttributes: 19,
  zoneDescriptor: 27,
  discoveryLog: 31,
} as const satisfies BitTable;

/** Controller Attributes. */
export const Ctratt = {
  hostIdentifier128: 0,
  nonOperationalPowerStatePermissive: 1,
  nvmSets: 2,
  readRecoveryLevels: 3,
  enduranceGroups: 4,
  predictableLatency: 5,
  trafficBasedKeepAlive: 6,
  namespaceGranularity: 7,
  sqAssociations: 8,
  uuidList: 9,
  multiDomain: 10,
  fixedCapacity: 11,
  variableCapacity: 12,
  deleteEnduranceGroup: 13,
  deleteNvmSet: 14,
  extendedLbaFormats: 15,
  mdtsExcludesMetadata: 16,
  hostMemoryBufferRestriction: 17,
  reservationsAndHostIdentifier: 18,
  flexibleDataPlacement: 19,
  powerLimit: 20,
  powerMeasurement: 21,
  voltageMeasurement: 22,
} as const satisfies BitTable;

/** Log Page Attributes. */
export const Lpa = {
  smartPerNamespace: 0,
  commandEffects: 1,
  extendedData: 2,
  telemetry: 3,
  persistentEvents: 4,
  supportedLogPages: 5,
  telemetryDataArea4: 6,
} as const satisfies BitTable;

/** Firmware Updates. */
export const Frmw = {
  firstSlotReadOnly: 0,
  slots: [1, 3],
  activationWithoutReset: 4,
  multipleUpdateDetection: 5,
} as const satisfies BitTable;

/** Format NVM Attributes. */
export const Fna = {
  formatAllNamespaces: 0,
  eraseAllNamespaces: 1,
  cryptographicErase: 2,
  noBroadcast: 3,
} as const satisfies BitTable;

/** Volatile Write Cache. */
export const Vwc = { present: 0, flushBehavior: [1, 2] } as const satisfies BitTable;

/** Sanitize Capabilities. */
export const Sanicap = {
  cryptoErase: 0,
  blockErase: 1,
  overwrite: 2,
  mediaVerification: 3,
  namespaceVerification: 4,
  noDeallocateInhibited: 29,
  noDeallocateModifiesMedia: [30, 2],
} as const satisfies BitTable;

/** Asymmetric Namespace Access Capabilities. */
export const Anacap = {
  optimized: 0,
  nonOptimized: 1,
  inaccessible: 2,
  persistentLoss: 3,
  change: 4,
  groupIdConstant: 6,
  groupIdManagement: 7,
} as const satisfies BitTable;

/** Device Self-test Options. */
export const Dsto = { one: 0, hostInitiatedRefresh: 1 } as const satisfies BitTable;

/** Host Controlled Thermal Management Attributes. */
export const Hctma = { supported: 0 } as const satisfies BitTable;

/** Autonomous Power State Transition Attributes. */
export const Apsta = { supported: 0 } as const satisfies BitTable;

/** Namespace Write Protection Capabilities. */
export const Nwpc = {
  writeProtect: 0,
  untilPowerCycle: 1,
  permanent: 2,
} as const satisfies BitTable;

/** SGL Support. */
export const Sgls = {
  /** 0 none, 1 without alignment, 2 dwords. */
  support: [0, 2],
  keyed: 2,
  bitBucket: 16,
  metadataByteAligned: 17,
  oversize: 18,
  metadataSegment: 19,
  offset: 20,
  transport: 21,
} as const satisfies BitTable;

/** Namespace Features. */
export const Nsfeat = {
  thinProvisioning: 0,
  namespaceAtomics: 1,
  deallocatedError: 2,
  idsNotReused: 3,
  optimalSizes: [4, 2],
} as const satisfies BitTable;

/** Formatted LBA Size, as of 64 formats. */
export const Flbas = {
  formatLow: [0, 4],
  metadataExtended: 4,
  formatHigh: [5, 2],
} as const satisfies BitTable;

/** Metadata Capabilities. */
export const Mc = { extended: 0, separate: 1 } as const satisfies BitTable;

/** End-to-end Data Protection Capabilities. */
export const Dpc = { type1: 0, type2: 1, type3: 2, first: 3, last: 4 } as const satisfies BitTable;

/** End-to-end Data Protection Type Settings. */
export const Dps = { type: [0, 3], first: 3 } as const satisfies BitTable;

/** Namespace Multi-path I/O and Namespace Sharing Capabilities. */
export const Nmic = { shared: 0, dispersed: 1 } as const satisfies BitTable;

/** Reservation Capabilities. */
export const Rescap = {
  persistThroughPowerLoss: 0,
  writeExclusive: 1,
  exclusiveAccess: 2,
  writeExclusiveRegistrantsOnly: 3,
  exclusiveAccessRegistrantsOnly: 4,
  writeExclusiveAllRegistrants: 5,
  exclusiveAccessAllRegistrants: 6,
  ignoreExistingKey: 7,
} as const satisfies BitTable;

/** Format Progress Indicator. */
export const Fpi = { remainingPercent: [0, 7], supported: 7 } as const satisfies BitTable;

/** Deallocate Logical Block Features. */
export const Dlfeat = {
  /** 0 not told, 1 zeros, 2 ones. */
  reads: [0, 3],
  writeZeroes: 3,
  guardIsCrc: 4,
} as const satisfies BitTable;
