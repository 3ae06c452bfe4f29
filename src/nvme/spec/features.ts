/** Features: NVMe Base 2.x, section "Features"; NVM Command Set, section "Feature Specific Information". */
import { array, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import type { BitTable } from "./capabilities.js";
import { FeatureId } from "./opcodes.js";
import { at, bits, nested, record } from "./record.js";

/** A feature whose value is one dword. */
export interface DwordFeature<T extends BitTable> {
  readonly fid: number;
  readonly table: T;
}

function dword<const T extends BitTable>(fid: number, table: T): DwordFeature<T> {
  return { fid, table };
}

/** Features whose value is one dword: its parts, as they stand in CDW11 of Set Features and DW0 of Get Features. */
export const Feature = {
  /** Weights are zero-based; a burst of 2^n commands, 7 is no limit. */
  arbitration: dword(FeatureId.arbitration, {
    burst: [0, 3],
    lowWeight: [8, 8],
    mediumWeight: [16, 8],
    highWeight: [24, 8],
  }),
  powerManagement: dword(FeatureId.powerManagement, { powerState: [0, 5], workloadHint: [5, 3] }),
  /** Kelvin. Sensor 0 is the composite temperature, 15 (set only) all; type 0 is over, 1 under. */
  temperatureThreshold: dword(FeatureId.temperatureThreshold, {
    kelvin: [0, 16],
    sensor: [16, 4],
    type: [20, 2],
    hysteresis: [22, 3],
  }),
  /** Of a namespace. Time in units of 100 ms, 0 is no limit. */
  errorRecovery: dword(FeatureId.errorRecovery, { timeLimit: [0, 16], deallocatedError: 16 }),
  volatileWriteCache: dword(FeatureId.volatileWriteCache, { enabled: 0 }),
  /** Zero-based; what the controller gave, or what a driver asks for. */
  numberOfQueues: dword(FeatureId.numberOfQueues, { submission: [0, 16], completion: [16, 16] }),
  /** Threshold zero-based; time in units of 100 microseconds. */
  interruptCoalescing: dword(FeatureId.interruptCoalescing, { threshold: [0, 8], time: [8, 8] }),
  interruptVectorConfiguration: dword(FeatureId.interruptVectorConfiguration, {
    vector: [0, 16],
    coalescingDisabled: 16,
  }),
  writeAtomicityNormal: dword(FeatureId.writeAtomicityNormal, { disableNormal: 0 }),
  asyncEventConfiguration: dword(FeatureId.asyncEventConfiguration, {
    spare: 0,
    temperature: 1,
    reliability: 2,
    readOnly: 3,
    backup: 4,
    persistentMemoryReadOnly: 5,
    namespaceAttributes: 8,
    firmwareActivation: 9,
    telemetry: 10,
    asymmetricNamespaceAccess: 11,
    predictableLatency: 12,
    lbaStatus: 13,
    enduranceGroup: 14,
    normalShutdown: 15,
    temperatureHysteresis: 16,
    reachabilityAssociations: 17,
    reachabilityGroups: 18,
    allocatedNamespaceAttributes: 19,
    zoneDescriptor: 27,
    discoveryLog: 31,
  }),
  /** Milliseconds; 0 is off. */
  keepAliveTimer: dword(FeatureId.keepAliveTimer, { milliseconds: [0, 32] }),
  /** Kelvin: from 1 on lightly throttled, from 2 on heavily; 0 is off. */
  hostControlledThermalManagement: dword(FeatureId.hostControlledThermalManagement, {
    temperature2: [0, 16],
    temperature1: [16, 16],
  }),
  nonOperationalPowerState: dword(FeatureId.nonOperationalPowerState, { permissive: 0 }),
  /** Intervals in units of 100 ms. */
  lbaStatusInformation: dword(FeatureId.lbaStatusInformation, {
    reportInterval: [0, 16],
    pollInterval: [16, 16],
  }),
  sanitizeConfig: dword(FeatureId.sanitizeConfig, { noDeallocateResponse: 0 }),
  enduranceGroupEventConfig: dword(FeatureId.enduranceGroupEventConfig, {
    endgid: [0, 16],
    warnings: [16, 8],
  }),
  commandSetProfile: dword(FeatureId.commandSetProfile, { index: [0, 9] }),
  spinupControl: dword(FeatureId.spinupControl, { enabled: 0 }),
  powerLossSignaling: dword(FeatureId.powerLossSignaling, { mode: [0, 2] }),
  softwareProgressMarker: dword(FeatureId.softwareProgressMarker, { preBootLoadCount: [0, 8] }),
  /** Of a namespace, as the next two. Set bits are not told. */
  reservationNotificationMask: dword(FeatureId.reservationNotificationMask, {
    registrationPreempted: 1,
    reservationReleased: 2,
    reservationPreempted: 3,
  }),
  reservationPersistence: dword(FeatureId.reservationPersistence, { persistThroughPowerLoss: 0 }),
  /** See {@link WriteProtection}. */
  namespaceWriteProtection: dword(FeatureId.namespaceWriteProtection, { state: [0, 3] }),
  bootPartitionWriteProtection: dword(FeatureId.bootPartitionWriteProtection, {
    partition0: [0, 3],
    partition1: [3, 3],
  }),
} as const;

export const WriteProtection = { none: 0, protected: 1, untilPowerCycle: 2, permanent: 3 } as const;

/** DW0 of Get Features with SEL 3: what can be done with a feature. */
export const FeatureCapabilities = {
  saveable: 0,
  namespaceSpecific: 1,
  changeable: 2,
} as const satisfies BitTable;

const lbaRange = record("LBA Range Type Entry", 64, {
  /** 0 general, 1 file system, 2 RAID, 3 cache, 4 swap. */
  type: at(0, u8),
  overwriteable: at(1, bits(u8, 0, 1)),
  hidden: at(1, bits(u8, 1, 1)),
  slba: at(16, u64),
  /** Zero-based. */
  nlb: at(24, u64),
  guid: at(32, bytes(16)),
});
export type LbaRange = ReturnType<typeof lbaRange.decode>;

export const lbaRangeTypes = record("LBA Range Type", 4096, { entry: at(0, array(nested(lbaRange), 64)) });

const powerTransition = record("Autonomous Power State Transition Entry", 8, {
  /** State to go to; time without commands in milliseconds, 0 is never. */
  powerState: at(0, bits(u32, 3, 5)),
  milliseconds: at(0, bits(u32, 8, 24)),
});
export type PowerTransition = ReturnType<typeof powerTransition.decode>;

/** An entry for each power state. */
export const powerTransitions = record("Autonomous Power State Transition", 256, {
  entry: at(0, array(nested(powerTransition), 32)),
});

/** Get Features: what the controller was given. */
export const hostMemoryAttributes = record("Host Memory Buffer Attributes", 4096, {
  /** In memory pages of the controller. */
  hsize: at(0, u32),
  hmdlal: at(4, u32),
  hmdlau: at(8, u32),
  hmdlec: at(12, u32),
});

/** An entry of the list that Set Features is given. */
export const hostMemoryDescriptor = record("Host Memory Buffer Descriptor", 16, {
  badd: at(0, u64),
  /** In memory pages of the controller. */
  bsize: at(8, u32),
});

export const hostBehavior = record("Host Behavior Support", 512, {
  /** Advanced command retry; telemetry data area 4; extended LBA formats; dispersed namespaces. */
  acre: at(0, u8),
  etdas: at(1, u8),
  lbafee: at(2, u8),
  hdisns: at(3, u8),
  /** Bit n: copy descriptor format n. */
  cdfe: at(4, u16),
});
export type HostBehavior = ReturnType<typeof hostBehavior.decode>;

export const predictableLatencyConfig = record("Predictable Latency Mode Config", 512, {
  enabledEvents: at(0, u16),
  windowReadsThreshold: at(32, u64),
  windowWritesThreshold: at(40, u64),
  windowTimeThreshold: at(48, u64),
});
export type PredictableLatencyConfig = ReturnType<typeof predictableLatencyConfig.decode>;

/** Flexible Data Placement: CDW12 of Set Features, DW0 of Get Features. */
export const FdpMode = { enabled: 0, configuration: [8, 8] } as const satisfies BitTable;
