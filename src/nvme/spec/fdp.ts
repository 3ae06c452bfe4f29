/** Flexible Data Placement: NVMe Base 2.1, log pages 20h to 23h and features 1Dh and 1Eh. */
import { bytes, u8, u16, u32, u64 } from "../../core/struct.js";
import { at, bits, record, u128 } from "./record.js";

/** FDP Configurations (LID 20h): the header. */
export const fdpConfigurationsHeader = record("FDP Configurations Log", 16, {
  /** Zero-based. */
  configurations: at(0, u16),
  version: at(2, u8),
  totalBytes: at(4, u32),
});

/** One configuration, before its reclaim unit handles. */
export const fdpConfiguration = record("FDP Configuration Descriptor", 64, {
  sizeBytes: at(0, u16),
  /** Bits of a placement identifier that name the reclaim group (RGIF). */
  reclaimGroupBits: at(2, bits(u8, 0, 4)),
  volatileWriteCache: at(2, bits(u8, 4, 1)),
  valid: at(2, bits(u8, 7, 1)),
  vendorBytes: at(3, u8),
  reclaimGroups: at(4, u32),
  reclaimUnitHandles: at(8, u16),
  /** Zero-based (MAXPIDS). */
  maximumPlacementIds: at(10, u16),
  namespaces: at(12, u32),
  reclaimUnitBytes: at(16, u64),
  /** Seconds (ERUTL). */
  reclaimUnitTimeLimit: at(24, u32),
});

/** Type of a reclaim unit handle. */
export const ReclaimUnitHandleType = { initiallyIsolated: 1, persistentlyIsolated: 2 } as const;

/** Reclaim Unit Handle Usage (LID 21h): the header; then 8 bytes each. */
export const fdpUsageHeader = record("Reclaim Unit Handle Usage Log", 8, { handles: at(0, u16) });
export const fdpUsage = record("Reclaim Unit Handle Usage Descriptor", 8, {
  /** 0 unused, 1 by a host's placement, 2 by the controller. */
  usage: at(0, u8),
});

/** FDP Statistics (LID 22h), in bytes. */
export const fdpStatisticsLog = record("FDP Statistics Log", 64, {
  hostBytesWritten: at(0, u128),
  mediaBytesWritten: at(16, u128),
  mediaBytesErased: at(32, u128),
});
export type FdpStatistics = ReturnType<typeof fdpStatisticsLog.decode>;

/** FDP Events (LID 23h): the header. LSP bit 0 asks for the host's events. */
export const fdpEventsHeader = record("FDP Events Log", 64, { events: at(0, u32) });
export const fdpEvent = record("FDP Event", 64, {
  type: at(0, u8),
  placementIdValid: at(1, bits(u8, 0, 1)),
  nsidValid: at(1, bits(u8, 1, 1)),
  locationValid: at(1, bits(u8, 2, 1)),
  placementId: at(2, u16),
  /** As the Timestamp feature has it: milliseconds in bits 47:0. */
  timestamp: at(4, u64),
  nsid: at(12, u32),
  typeSpecific: at(16, bytes(16)),
  reclaimGroup: at(32, u16),
  reclaimUnitHandle: at(34, u16),
  vendorSpecific: at(40, bytes(24)),
});
export type FdpEvent = ReturnType<typeof fdpEvent.decode>;

/** Host events below 80h, the controller's from there on. */
export const FdpEventType = {
  reclaimUnitNotFullyWritten: 0x00,
  reclaimUnitTimeLimitExceeded: 0x01,
  resetModifiedReclaimUnitHandles: 0x02,
  invalidPlacementId: 0x03,
  mediaReallocated: 0x80,
  implicitlyModifiedReclaimUnitHandle: 0x81,
} as const;

/** Supported FDP Event Descriptor, what Get Features tells of the events. */
export const fdpSupportedEvent = record("Supported FDP Event Descriptor", 2, {
  type: at(0, u8),
  enabled: at(1, bits(u8, 0, 1)),
});
