/** Flexible Data Placement: NVMe Base 2.1, log pages 20h to 23h and features 1Dh and 1Eh. */
import { bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { at, bits, record, u128 } from "./record.js";

/** FDP Configurations (LID 20h): the header. */
export const fdpConfigurationsHeader = record("FDP Configurations Log", 16, {
  /** Number of configurations, zero-based. */
  configurations: at(0, u16),
  /** Version of the log's layout. */
  version: at(2, u8),
  /** Size of the log, in bytes. */
  totalBytes: at(4, u32),
});

/** One configuration, before its reclaim unit handles. */
export const fdpConfiguration = record("FDP Configuration Descriptor", 64, {
  /** Size of the descriptor, in bytes. */
  sizeBytes: at(0, u16),
  /** Number of placement identifier bits for the reclaim group (RGIF). */
  reclaimGroupBits: at(2, bits(u8, 0, 4)),
  /** 1: placement uses the volatile write cache. */
  volatileWriteCache: at(2, bits(u8, 4, 1)),
  /** 1: the configuration can be used. */
  valid: at(2, bits(u8, 7, 1)),
  /** Size of the vendor-specific part, in bytes. */
  vendorBytes: at(3, u8),
  /** Number of reclaim groups. */
  reclaimGroups: at(4, u32),
  /** Number of reclaim unit handles. */
  reclaimUnitHandles: at(8, u16),
  /** Most placement identifiers of a namespace, zero-based (MAXPIDS). */
  maximumPlacementIds: at(10, u16),
  /** Most namespaces in the endurance group. */
  namespaces: at(12, u32),
  /** Nominal size of a reclaim unit, in bytes. */
  reclaimUnitBytes: at(16, u64),
  /** Estimated time for which a reclaim unit stays open, in seconds; 0: not reported (ERUTL). */
  reclaimUnitTimeLimit: at(24, u32),
});

/** Type of a reclaim unit handle. */
export const ReclaimUnitHandleType = {
  /** Data may be mixed with other handles' data when it is moved. */
  initiallyIsolated: 1,
  /** Data stays apart from other handles' data, also when it is moved. */
  persistentlyIsolated: 2,
} as const;

/** Reclaim Unit Handle Usage (LID 21h): the header; then 8 bytes each. */
export const fdpUsageHeader = record("Reclaim Unit Handle Usage Log", 8, { handles: at(0, u16) });
/** A descriptor of the Reclaim Unit Handle Usage log. */
export const fdpUsage = record("Reclaim Unit Handle Usage Descriptor", 8, {
  /** 0 unused, 1 by a host's placement, 2 by the controller. */
  usage: at(0, u8),
});

/** FDP Statistics (LID 22h), in bytes. */
export const fdpStatisticsLog = record("FDP Statistics Log", 64, {
  /** Bytes that hosts wrote (HBMW). */
  hostBytesWritten: at(0, u128),
  /** Bytes that were written to the medium (MBMW). */
  mediaBytesWritten: at(16, u128),
  /** Bytes of the medium that were erased (MBE). */
  mediaBytesErased: at(32, u128),
});
/** FDP Statistics (LID 22h), decoded. */
export type FdpStatistics = ReturnType<typeof fdpStatisticsLog.decode>;

/** FDP Events (LID 23h): the header. LSP bit 0 asks for the host's events. */
export const fdpEventsHeader = record("FDP Events Log", 64, { events: at(0, u32) });
/** An event of the FDP Events log. */
export const fdpEvent = record("FDP Event", 64, {
  /** Type of the event; see {@link FdpEventType}. */
  type: at(0, u8),
  /** 1: `placementId` is valid. */
  placementIdValid: at(1, bits(u8, 0, 1)),
  /** 1: `nsid` is valid. */
  nsidValid: at(1, bits(u8, 1, 1)),
  /** 1: `reclaimGroup` and `reclaimUnitHandle` are valid. */
  locationValid: at(1, bits(u8, 2, 1)),
  /** Placement identifier of the event. */
  placementId: at(2, u16),
  /** Time of the event: milliseconds in bits 47:0, as in the Timestamp feature. */
  timestamp: at(4, u64),
  /** Namespace of the event. */
  nsid: at(12, u32),
  /** Data that depends on the type. */
  typeSpecific: at(16, bytes(16)),
  /** Reclaim group of the event. */
  reclaimGroup: at(32, u16),
  /** Reclaim unit handle of the event. */
  reclaimUnitHandle: at(34, u16),
  /** Vendor specific. */
  vendorSpecific: at(40, bytes(24)),
});
/** An FDP event (LID 23h), decoded. */
export type FdpEvent = ReturnType<typeof fdpEvent.decode>;

/** Types of FDP events: host events below 80h, controller events from 80h on. */
export const FdpEventType = {
  /** A reclaim unit was left before it was fully written. */
  reclaimUnitNotFullyWritten: 0x00,
  /** A reclaim unit stayed open longer than its time limit. */
  reclaimUnitTimeLimitExceeded: 0x01,
  /** A reset changed which reclaim units the handles refer to. */
  resetModifiedReclaimUnitHandles: 0x02,
  /** A write had an invalid placement identifier. */
  invalidPlacementId: 0x03,
  /** The controller moved data on the medium. */
  mediaReallocated: 0x80,
  /** The controller changed which reclaim unit a handle refers to. */
  implicitlyModifiedReclaimUnitHandle: 0x81,
} as const;

/** Supported FDP Event Descriptor, as Get Features (FID 1Eh) returns it. */
export const fdpSupportedEvent = record("Supported FDP Event Descriptor", 2, {
  /** Type of the event; see {@link FdpEventType}. */
  type: at(0, u8),
  /** 1: the event is reported. */
  enabled: at(1, bits(u8, 0, 1)),
});
