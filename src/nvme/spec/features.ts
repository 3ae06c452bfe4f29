/** Features: NVMe Base 2.x, section "Features"; NVM Command Set, section "Feature Specific Information". */
import { array, bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import type { BitTable } from "./capabilities.js";
import { FeatureId } from "./opcodes.js";
import { at, bits, nested, record } from "./record.js";

/** CDW10 of Get and Set Features: bits of the feature identifier. */
export const FID_MASK = 0xff;
/** CDW10 of Set Features (SV): the controller saves the value over resets and power cycles. */
export const SAVE_FEATURE = 2 ** 31;
/** Arbitration, AB: no limit of the burst. */
export const BURST_UNLIMITED = 7;
/** Size of the Timestamp feature's data. */
export const TIMESTAMP_BYTES = 8;

/** Host Memory Buffer, CDW11 of Set Features. */
export const HostMemoryFlag = {
  /** EHM: enables the buffer. */
  enable: 1 << 0,
  /** MR: the controller had this memory, with this content, before a reset. */
  memoryReturn: 1 << 1,
} as const;

/** A feature whose value is one dword. */
export interface DwordFeature<T extends BitTable> {
  /** Feature identifier; see {@link FeatureId}. */
  readonly fid: number;
  /** Parts of the dword. */
  readonly table: T;
}

function dword<const T extends BitTable>(fid: number, table: T): DwordFeature<T> {
  return { fid, table };
}

/** Features whose value is one dword: its fields in CDW11 of Set Features and DW0 of Get Features. */
export const Feature = {
  /** Arbitration (FID 01h). */
  arbitration: dword(FeatureId.arbitration, {
    /** Arbitration burst: up to 2^n commands; 7: no limit. */
    burst: [0, 3],
    /** Commands per round from low-priority queues, zero-based. */
    lowWeight: [8, 8],
    /** Commands per round from medium-priority queues, zero-based. */
    mediumWeight: [16, 8],
    /** Commands per round from high-priority queues, zero-based. */
    highWeight: [24, 8],
  }),
  /** Power Management (FID 02h). */
  powerManagement: dword(FeatureId.powerManagement, {
    /** Power state (PS). */
    powerState: [0, 5],
    /** Workload hint (WH): 0 none, 1 or 2 a workload. */
    workloadHint: [5, 3],
  }),
  /** Temperature Threshold (FID 04h). */
  temperatureThreshold: dword(FeatureId.temperatureThreshold, {
    /** Threshold, in kelvin (TMPTH). */
    kelvin: [0, 16],
    /** Sensor (TMPSEL): 0 composite temperature, 1 to 8 a sensor, 15 all (Set Features only). */
    sensor: [16, 4],
    /** Type of threshold (THSEL): 0 over, 1 under. */
    type: [20, 2],
    /** Hysteresis, in kelvin (TMPTHH). */
    hysteresis: [22, 3],
  }),
  /** Error Recovery (FID 05h), for a namespace. */
  errorRecovery: dword(FeatureId.errorRecovery, {
    /** Time limited error recovery, in units of 100 ms; 0: no limit. */
    timeLimit: [0, 16],
    /** Reads of deallocated or unwritten blocks fail (DULBE). */
    deallocatedError: 16,
  }),
  /** Volatile Write Cache (FID 06h). */
  volatileWriteCache: dword(FeatureId.volatileWriteCache, {
    /** The volatile write cache is enabled (WCE). */
    enabled: 0,
  }),
  /** Number of Queues (FID 07h): the requested or the allocated number. */
  numberOfQueues: dword(FeatureId.numberOfQueues, {
    /** Number of I/O submission queues, zero-based. */
    submission: [0, 16],
    /** Number of I/O completion queues, zero-based. */
    completion: [16, 16],
  }),
  /** Interrupt Coalescing (FID 08h). */
  interruptCoalescing: dword(FeatureId.interruptCoalescing, {
    /** Completions per interrupt, zero-based (THR). */
    threshold: [0, 8],
    /** Longest delay of an interrupt, in units of 100 microseconds (TIME). */
    time: [8, 8],
  }),
  /** Interrupt Vector Configuration (FID 09h). */
  interruptVectorConfiguration: dword(FeatureId.interruptVectorConfiguration, {
    /** Interrupt vector (IV). */
    vector: [0, 16],
    /** Interrupts of this vector aren't coalesced (CD). */
    coalescingDisabled: 16,
  }),
  /** Write Atomicity Normal (FID 0Ah). */
  writeAtomicityNormal: dword(FeatureId.writeAtomicityNormal, {
    /** AWUN and NAWUN need not be honored, only the units at power failure (DN). */
    disableNormal: 0,
  }),
  /** Asynchronous Event Configuration (FID 0Bh): which events are reported. */
  asyncEventConfiguration: dword(FeatureId.asyncEventConfiguration, {
    /** Critical warning: spare capacity. */
    spare: 0,
    /** Critical warning: temperature. */
    temperature: 1,
    /** Critical warning: reliability. */
    reliability: 2,
    /** Critical warning: the medium is read-only. */
    readOnly: 3,
    /** Critical warning: backup of volatile memory. */
    backup: 4,
    /** Critical warning: persistent memory region. */
    persistentMemoryReadOnly: 5,
    /** Notice: changed attributes of attached namespaces. */
    namespaceAttributes: 8,
    /** Notice: a firmware activation starts. */
    firmwareActivation: 9,
    /** Notice: controller-initiated telemetry changed. */
    telemetry: 10,
    /** Notice: ANA states changed. */
    asymmetricNamespaceAccess: 11,
    /** Notice: Predictable Latency Event Aggregate log changed. */
    predictableLatency: 12,
    /** Notice: LBA Status Information alert. */
    lbaStatus: 13,
    /** Notice: Endurance Group Event Aggregate log changed. */
    enduranceGroup: 14,
    /** Normal shutdown of the NVM subsystem. */
    normalShutdown: 15,
    /** Recovery from a temperature threshold, with hysteresis. */
    temperatureHysteresis: 16,
    /** Notice: reachability associations changed. */
    reachabilityAssociations: 17,
    /** Notice: reachability groups changed. */
    reachabilityGroups: 18,
    /** Notice: changed attributes of allocated namespaces. */
    allocatedNamespaceAttributes: 19,
    /** Notice: zone descriptors changed. */
    zoneDescriptor: 27,
    /** Notice: the Discovery log changed. */
    discoveryLog: 31,
  }),
  /** Keep Alive Timer (FID 0Fh). */
  keepAliveTimer: dword(FeatureId.keepAliveTimer, {
    /** Keep alive timeout, in milliseconds; 0: off. */
    milliseconds: [0, 32],
  }),
  /** Host Controlled Thermal Management (FID 10h). */
  hostControlledThermalManagement: dword(FeatureId.hostControlledThermalManagement, {
    /** Temperature from which the controller throttles heavily, in kelvin; 0: off (TMT2). */
    temperature2: [0, 16],
    /** Temperature from which the controller throttles lightly, in kelvin; 0: off (TMT1). */
    temperature1: [16, 16],
  }),
  /** Non-Operational Power State Config (FID 11h). */
  nonOperationalPowerState: dword(FeatureId.nonOperationalPowerState, {
    /** Background work may exceed the power of a non-operational state (NOPPME). */
    permissive: 0,
  }),
  /** LBA Status Information Attributes (FID 15h). */
  lbaStatusInformation: dword(FeatureId.lbaStatusInformation, {
    /** LBA status information report interval, in units of 100 ms (LSIRI). */
    reportInterval: [0, 16],
    /** LBA status information poll interval, in units of 100 ms (LSIPI). */
    pollInterval: [16, 16],
  }),
  /** Sanitize Config (FID 17h). */
  sanitizeConfig: dword(FeatureId.sanitizeConfig, {
    /**
     * Effect of an inhibited "no deallocate after sanitize" (NODRM): 0 fails the command, 1 is a warning.
     */
    noDeallocateResponse: 0,
  }),
  /** Endurance Group Event Configuration (FID 18h). */
  enduranceGroupEventConfig: dword(FeatureId.enduranceGroupEventConfig, {
    /** Endurance group identifier. */
    endgid: [0, 16],
    /** Critical warnings that add an entry to the event aggregate log. */
    warnings: [16, 8],
  }),
  /** I/O Command Set Profile (FID 19h). */
  commandSetProfile: dword(FeatureId.commandSetProfile, {
    /** Index of the command set combination in use (IOCSCI). */
    index: [0, 9],
  }),
  /** Spinup Control (FID 1Ah). */
  spinupControl: dword(FeatureId.spinupControl, {
    /** Rotational media spin up only when a host asks for it. */
    enabled: 0,
  }),
  /** Power Loss Signaling Config (FID 1Bh). */
  powerLossSignaling: dword(FeatureId.powerLossSignaling, {
    /** Power loss signaling mode (PLSM); 0: off. */
    mode: [0, 2],
  }),
  /** Power Measurement (FID 25h): starts and stops what the log of this name reports. */
  powerMeasurement: dword(FeatureId.powerMeasurement, {
    /** 1 starts a measurement, 0 stops it (ACT). */
    action: [0, 4],
    /** What is measured: 0 the whole NVM subsystem (PMTS). */
    type: [4, 4],
    /** Minutes after which it stops; 0: never by itself (SMT). */
    stopMinutes: [16, 16],
  }),
  /** Software Progress Marker (FID 80h). */
  softwareProgressMarker: dword(FeatureId.softwareProgressMarker, {
    /** How often pre-boot software was loaded since the operating system set it to 0 (PBSLC). */
    preBootLoadCount: [0, 8],
  }),
  /** Reservation Notification Mask (FID 82h), for a namespace. A set bit masks the notification. */
  reservationNotificationMask: dword(FeatureId.reservationNotificationMask, {
    /** Masks "registration preempted" (REGPRE). */
    registrationPreempted: 1,
    /** Masks "reservation released" (RESREL). */
    reservationReleased: 2,
    /** Masks "reservation preempted" (RESPRE). */
    reservationPreempted: 3,
  }),
  /** Reservation Persistence (FID 83h), for a namespace. */
  reservationPersistence: dword(FeatureId.reservationPersistence, {
    /** The reservation and registrations persist through a loss of power (PTPL). */
    persistThroughPowerLoss: 0,
  }),
  /** Namespace Write Protection Config (FID 84h), for a namespace. */
  namespaceWriteProtection: dword(FeatureId.namespaceWriteProtection, {
    /** State; see {@link WriteProtection}. */
    state: [0, 3],
  }),
  /** Boot Partition Write Protection Config (FID 85h). */
  bootPartitionWriteProtection: dword(FeatureId.bootPartitionWriteProtection, {
    /** State of boot partition 0; see {@link BootPartitionProtection}. */
    partition0: [0, 3],
    /** State of boot partition 1. */
    partition1: [3, 3],
  }),
} as const;

/** Boot Partition Write Protection Config (FID 85h): the states of a boot partition. */
export const BootPartitionProtection = {
  /** Set Features leaves the state as it is. */
  unchanged: 0,
  /** Firmware Commit can write the boot partition, until the next power cycle. */
  unlocked: 1,
  /** Write-protected; the host can end it. */
  locked: 2,
  /** Write-protected until the next power cycle. */
  untilPowerCycle: 3,
  /** The configuration of RPMB target 0 decides: Get Features only. */
  byRpmb: 4,
} as const;

/** Namespace Write Protection (FID 84h): the states of a namespace. */
export const WriteProtection = {
  /** Not write-protected. */
  none: 0,
  /** Write-protected; the host can end it. */
  protected: 1,
  /** Write-protected until the next power cycle. */
  untilPowerCycle: 2,
  /** Write-protected permanently. */
  permanent: 3,
} as const;

/** DW0 of Get Features with SEL 3: capabilities of a feature. */
export const FeatureCapabilities = {
  /** The controller can save the value over power cycles and resets. */
  saveable: 0,
  /** Each namespace has its own value. */
  namespaceSpecific: 1,
  /** Set Features can change the value. */
  changeable: 2,
} as const satisfies BitTable;

const lbaRange = record("LBA Range Type Entry", 64, {
  /** Type: 0 general, 1 file system, 2 RAID, 3 cache, 4 page or swap file. */
  type: at(0, u8),
  /** 1: the range may be overwritten; 0: it holds something the host needs. */
  overwriteable: at(1, bits(u8, 0, 1)),
  /** 1: the range should be hidden from the operating system. */
  hidden: at(1, bits(u8, 1, 1)),
  /** First block of the range. */
  slba: at(16, u64),
  /** Number of blocks, zero-based. */
  nlb: at(24, u64),
  /** Identifier of the type, 16 bytes; where `type` is vendor specific. */
  guid: at(32, bytes(16)),
});
/** An entry of the LBA Range Type feature (FID 03h), decoded. */
export type LbaRange = ReturnType<typeof lbaRange.decode>;

/** LBA Range Type (FID 03h): the data. */
export const lbaRangeTypes = record("LBA Range Type", 4096, { entry: at(0, array(nested(lbaRange), 64)) });

const powerTransition = record("Autonomous Power State Transition Entry", 8, {
  /** Non-operational power state to enter (ITPS). */
  powerState: at(0, bits(u32, 3, 5)),
  /** Idle time before the transition, in milliseconds (ITPT); 0: no transition. */
  milliseconds: at(0, bits(u32, 8, 24)),
});
/** An entry of the Autonomous Power State Transition feature (FID 0Ch), decoded. */
export type PowerTransition = ReturnType<typeof powerTransition.decode>;

/** An entry for each power state. */
export const powerTransitions = record("Autonomous Power State Transition", 256, {
  entry: at(0, array(nested(powerTransition), 32)),
});

/** Get Features: the host memory buffer in use. */
export const hostMemoryAttributes = record("Host Memory Buffer Attributes", 4096, {
  /** Size of the host memory buffer, in memory pages of the controller (CC.MPS). */
  hsize: at(0, u32),
  /** Address of the descriptor list, low 32 bits. */
  hmdlal: at(4, u32),
  /** Address of the descriptor list, high 32 bits. */
  hmdlau: at(8, u32),
  /** Number of entries in the descriptor list. */
  hmdlec: at(12, u32),
});

/** An entry of the list that Set Features is given. */
export const hostMemoryDescriptor = record("Host Memory Buffer Descriptor", 16, {
  /** Bus address of the memory. */
  badd: at(0, u64),
  /** Size of the memory, in memory pages of the controller (CC.MPS). */
  bsize: at(8, u32),
});

/** Host Behavior Support (FID 16h): the data. */
export const hostBehavior = record("Host Behavior Support", 512, {
  /** 1: advanced command retry is enabled. */
  acre: at(0, u8),
  /** 1: telemetry data area 4 is enabled. */
  etdas: at(1, u8),
  /** 1: extended LBA formats are enabled. */
  lbafee: at(2, u8),
  /** 1: the host supports dispersed namespaces. */
  hdisns: at(3, u8),
  /** Copy descriptor formats that are enabled: bit n is format n. */
  cdfe: at(4, u16),
});
/** Host Behavior Support (FID 16h), decoded. */
export type HostBehavior = ReturnType<typeof hostBehavior.decode>;

/** Predictable Latency Mode Config (FID 13h): the data. */
export const predictableLatencyConfig = record("Predictable Latency Mode Config", 512, {
  /** Events that are reported, a bit each. */
  enabledEvents: at(0, u16),
  /** Estimated remaining reads at which the event is reported. */
  windowReadsThreshold: at(32, u64),
  /** Estimated remaining writes at which the event is reported. */
  windowWritesThreshold: at(40, u64),
  /** Estimated remaining time at which the event is reported, in milliseconds. */
  windowTimeThreshold: at(48, u64),
});
/** Predictable Latency Mode Config (FID 13h), decoded. */
export type PredictableLatencyConfig = ReturnType<typeof predictableLatencyConfig.decode>;

/** Flexible Data Placement: CDW12 of Set Features, DW0 of Get Features. */
export const FdpMode = {
  /** Flexible Data Placement is enabled (FDPE). */
  enabled: 0,
  /** Index of the configuration (FDPCIDX). */
  configuration: [8, 8],
} as const satisfies BitTable;
