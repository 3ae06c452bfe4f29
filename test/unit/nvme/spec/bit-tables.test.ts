/** Tables of bits: each field's mask, as the figures of NVMe Base 2.x and the NVM Command Set have it. */
import { describe, expect, test } from "vitest";
import * as nvme from "../../../../src/doors/nvme.js";

/** Masks by table and field. */
const masks: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  // Figure "Identify Controller Data Structure".
  Oacs: {
    security: 0x1,
    format: 0x2,
    firmware: 0x4,
    namespaceManagement: 0x8,
    deviceSelfTest: 0x10,
    directives: 0x20,
    nvmeMi: 0x40,
    virtualizationManagement: 0x80,
    doorbellBufferConfig: 0x100,
    getLbaStatus: 0x200,
    lockdown: 0x400,
    hostManagedLiveMigration: 0x800,
  },
  Oncs: {
    compare: 0x1,
    writeUncorrectable: 0x2,
    datasetManagement: 0x4,
    writeZeroes: 0x8,
    saveFeatures: 0x10,
    reservations: 0x20,
    timestamp: 0x40,
    verify: 0x80,
    copy: 0x100,
    copySingleAtomicity: 0x200,
    allFastCopy: 0x400,
    writeZeroesDeallocate: 0x800,
    namespaceZeroes: 0x1000,
  },
  Cmic: {
    multiplePorts: 0x1,
    multipleControllers: 0x2,
    virtualFunction: 0x4,
    asymmetricNamespaceAccess: 0x8,
  },
  Oaes: {
    namespaceAttributes: 0x100,
    firmwareActivation: 0x200,
    asymmetricNamespaceAccess: 0x800,
    predictableLatency: 0x1000,
    lbaStatus: 0x2000,
    enduranceGroup: 0x4000,
    normalShutdown: 0x8000,
    temperatureHysteresis: 0x1_0000,
    reachability: 0x2_0000,
    allocatedNamespaceAttributes: 0x8_0000,
    zoneDescriptor: 0x800_0000,
    discoveryLog: 0x8000_0000,
  },
  Ctratt: {
    hostIdentifier128: 0x1,
    nonOperationalPowerStatePermissive: 0x2,
    nvmSets: 0x4,
    readRecoveryLevels: 0x8,
    enduranceGroups: 0x10,
    predictableLatency: 0x20,
    trafficBasedKeepAlive: 0x40,
    namespaceGranularity: 0x80,
    sqAssociations: 0x100,
    uuidList: 0x200,
    multiDomain: 0x400,
    fixedCapacity: 0x800,
    variableCapacity: 0x1000,
    deleteEnduranceGroup: 0x2000,
    deleteNvmSet: 0x4000,
    extendedLbaFormats: 0x8000,
    mdtsExcludesMetadata: 0x1_0000,
    hostMemoryBufferRestriction: 0x2_0000,
    reservationsAndHostIdentifier: 0x4_0000,
    flexibleDataPlacement: 0x8_0000,
    powerLimit: 0x10_0000,
    powerMeasurement: 0x20_0000,
    voltageMeasurement: 0x40_0000,
  },
  Lpa: {
    smartPerNamespace: 0x1,
    commandEffects: 0x2,
    extendedData: 0x4,
    telemetry: 0x8,
    persistentEvents: 0x10,
    supportedLogPages: 0x20,
    telemetryDataArea4: 0x40,
  },
  Frmw: { firstSlotReadOnly: 0x1, slots: 0xe, activationWithoutReset: 0x10, multipleUpdateDetection: 0x20 },
  Fna: { formatAllNamespaces: 0x1, eraseAllNamespaces: 0x2, cryptographicErase: 0x4, noBroadcast: 0x8 },
  Vwc: { present: 0x1, flushBehavior: 0x6 },
  Sanicap: {
    cryptoErase: 0x1,
    blockErase: 0x2,
    overwrite: 0x4,
    mediaVerification: 0x8,
    namespaceVerification: 0x10,
    noDeallocateInhibited: 0x2000_0000,
    noDeallocateModifiesMedia: 0xc000_0000,
  },
  Anacap: {
    optimized: 0x1,
    nonOptimized: 0x2,
    inaccessible: 0x4,
    persistentLoss: 0x8,
    change: 0x10,
    groupIdConstant: 0x40,
    groupIdManagement: 0x80,
  },
  Dsto: { one: 0x1, hostInitiatedRefresh: 0x2 },
  Hctma: { supported: 0x1 },
  Apsta: { supported: 0x1 },
  Nwpc: { writeProtect: 0x1, untilPowerCycle: 0x2, permanent: 0x4 },
  Sgls: {
    support: 0x3,
    keyed: 0x4,
    bitBucket: 0x1_0000,
    metadataByteAligned: 0x2_0000,
    oversize: 0x4_0000,
    metadataSegment: 0x8_0000,
    offset: 0x10_0000,
    transport: 0x20_0000,
  },
  // NVM Command Set, figure "Identify Namespace Data Structure".
  Nsfeat: {
    thinProvisioning: 0x1,
    namespaceAtomics: 0x2,
    deallocatedError: 0x4,
    idsNotReused: 0x8,
    optimalSizes: 0x30,
  },
  Flbas: { formatLow: 0xf, metadataExtended: 0x10, formatHigh: 0x60 },
  Mc: { extended: 0x1, separate: 0x2 },
  Dpc: { type1: 0x1, type2: 0x2, type3: 0x4, first: 0x8, last: 0x10 },
  Dps: { type: 0x7, first: 0x8 },
  Nmic: { shared: 0x1, dispersed: 0x2 },
  Rescap: {
    persistThroughPowerLoss: 0x1,
    writeExclusive: 0x2,
    exclusiveAccess: 0x4,
    writeExclusiveRegistrantsOnly: 0x8,
    exclusiveAccessRegistrantsOnly: 0x10,
    writeExclusiveAllRegistrants: 0x20,
    exclusiveAccessAllRegistrants: 0x40,
    ignoreExistingKey: 0x80,
  },
  Fpi: { remainingPercent: 0x7f, supported: 0x80 },
  Dlfeat: { reads: 0x7, writeZeroes: 0x8, guardIsCrc: 0x10 },
  // Figure "Get Features - Supported Capabilities": completion dword 0.
  FeatureCapabilities: { saveable: 0x1, namespaceSpecific: 0x2, changeable: 0x4 },
  // Figure "Commands Supported and Effects Data Structure".
  CommandEffect: {
    supported: 0x1,
    contentChange: 0x2,
    namespaceCapabilityChange: 0x4,
    namespaceInventoryChange: 0x8,
    controllerCapabilityChange: 0x10,
    submissionRelaxed: 0xc000,
    submission: 0x7_0000,
    uuidSelection: 0x8_0000,
    scope: 0xfff0_0000,
  },
  // Figure "LID Supported and Effects Data Structure".
  LogPageSupport: { supported: 0x1, indexOffset: 0x2, specific: 0xffff_0000 },
  // Figure "FID Supported and Effects Data Structure".
  FeatureEffect: {
    supported: 0x1,
    contentChange: 0x2,
    namespaceCapabilityChange: 0x4,
    namespaceInventoryChange: 0x8,
    controllerCapabilityChange: 0x10,
    uuidSelection: 0x8_0000,
    scope: 0xfff0_0000,
  },
};

const tables = new Map<string, unknown>(Object.entries(nvme));

/** Whether an export is a table for decodeBits(): fields that are a bit, or a lowest bit and a width. */
function isBitTable(value: unknown): value is nvme.BitTable {
  if (typeof value !== "object" || value === null) return false;
  const isPlace = (place: unknown): boolean =>
    typeof place === "number" ||
    (Array.isArray(place) && place.length === 2 && place.every((part) => typeof part === "number"));
  return Object.values(value).every(isPlace);
}

/** The largest value of a field, as decodeBits() returns it. */
const full = (place: number | readonly [number, number]): boolean | number =>
  typeof place === "number" ? true : 2 ** place[1] - 1;

/** A number whose only field is set to its largest value. */
function encodeFull(field: string, place: number | readonly [number, number]): number {
  if (typeof place === "number") return nvme.encodeBits({ [field]: place }, { [field]: true });
  return nvme.encodeBits({ [field]: place }, { [field]: 2 ** place[1] - 1 });
}

describe.each(Object.entries(masks))("%s", (name, fields) => {
  const table = tables.get(name);
  if (!isBitTable(table)) throw new TypeError(`${name} is no table of bits`);

  test("has the fields of the specification", () => {
    expect(Object.keys(table)).toEqual(Object.keys(fields));
  });

  test.each(Object.entries(fields))("reads and writes %s in its own bits only", (field, mask) => {
    const place = table[field];
    if (place === undefined) throw new TypeError(`${name} has no field ${field}`);
    expect(encodeFull(field, place)).toBe(mask);
    expect(nvme.decodeBits(mask, table)[field]).toBe(full(place));
    expect(nvme.decodeBits(~mask >>> 0, table)[field]).toBe(typeof place === "number" ? false : 0);
  });
});

test("every table of several numbers' width is in the list above", () => {
  const withWidths = [...tables].filter(
    ([, value]) => isBitTable(value) && Object.values(value).some((place) => typeof place !== "number"),
  );
  expect(withWidths.map(([name]) => name).filter((name) => masks[name] === undefined)).toEqual([]);
});

test("encodeBits rejects an unknown field, a wrong type, and a number that is too large", () => {
  for (const values of [
    '{ "firmware": true }',
    '{ "present": 1 }',
    '{ "flushBehavior": true }',
    '{ "flushBehavior": 4 }',
    '{ "flushBehavior": -1 }',
  ]) {
    expect(() => nvme.encodeBits(nvme.Vwc, JSON.parse(values)), values).toThrow(
      expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" }),
    );
  }
});
