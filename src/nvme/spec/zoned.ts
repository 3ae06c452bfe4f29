/** Zoned Namespace Command Set 1.x: its Identify structures and zone reports. */
import { array, bytes, type FieldType, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, record } from "./record.js";

/** Extension of an LBA format (LBAFE). */
export interface ZonedLbaFormat {
  /** Zone size, in blocks (ZSZE). */
  readonly zoneSizeBlocks: bigint;
  /** Size of a zone descriptor extension, in bytes (ZDES is in units of 64). */
  readonly extensionBytes: number;
}

const zonedLbaFormat: FieldType<ZonedLbaFormat> = {
  sizeBytes: 16,
  alignBytes: 8,
  zero: () => ({ zoneSizeBlocks: 0n, extensionBytes: 0 }),
  read: (view, offset) => ({
    zoneSizeBlocks: view.getBigUint64(offset, true),
    // ZDES counts units of 64 bytes.
    extensionBytes: view.getUint8(offset + 8) * 64,
  }),
  write(view, offset, { zoneSizeBlocks, extensionBytes }) {
    view.setBigUint64(offset, zoneSizeBlocks, true);
    view.setUint8(offset + 8, extensionBytes / 64);
  },
};

/** Identify Namespace, CNS 05h, CSI 02h. */
export const identifyZonedNamespace = record(
  "I/O Command Set specific Identify Namespace (ZNS)",
  IDENTIFY_BYTES,
  {
    /** Zone operation characteristics: bit 0 variable zone capacity, bit 1 zone active excursions. */
    zoc: at(0, u16),
    /** Optional zoned commands: bit 0 reads across zone boundaries, bit 1 zone random write areas. */
    ozcs: at(2, u16),
    /** Most active zones, zero-based; FFFFFFFFh: no limit. */
    mar: at(4, u32),
    /** Most open zones, zero-based; FFFFFFFFh: no limit. */
    mor: at(8, u32),
    /** Reset recommended limit, in seconds; 0: not reported. */
    rrl: at(12, u32),
    /** Finish recommended limit, in seconds; 0: not reported. */
    frl: at(16, u32),
    /** Second reset recommended limit, in seconds. */
    rrl1: at(20, u32),
    /** Third reset recommended limit, in seconds. */
    rrl2: at(24, u32),
    /** Fourth reset recommended limit, in seconds. */
    rrl3: at(28, u32),
    /** Second finish recommended limit, in seconds. */
    frl1: at(32, u32),
    /** Third finish recommended limit, in seconds. */
    frl2: at(36, u32),
    /** Fourth finish recommended limit, in seconds. */
    frl3: at(40, u32),
    /** Number of zone random write areas, zero-based; FFFFFFFFh: no limit. */
    numzrwa: at(44, u32),
    /** Granularity of flushes of a zone random write area, in blocks. */
    zrwafg: at(48, u16),
    /** Size of a zone random write area, in blocks. */
    zrwasz: at(50, u16),
    /** Zone random write area capabilities: bit 0, explicit flush. */
    zrwacap: at(52, u8),
    /** Extensions of the LBA formats: one for each. */
    lbafe: at(2816, array(zonedLbaFormat, 64)),
    /** Vendor specific. */
    vs: at(3840, bytes(256)),
  },
);
/** Identify Namespace of the Zoned Namespace Command Set (CNS 05h, CSI 02h), decoded. */
export type IdentifyZonedNamespace = ReturnType<typeof identifyZonedNamespace.decode>;

/** Identify Controller, CNS 06h, CSI 02h. */
export const identifyZonedController = record(
  "I/O Command Set specific Identify Controller (ZNS)",
  IDENTIFY_BYTES,
  {
    /** Most data of a Zone Append: 2^n minimum memory pages; 0: the limit is MDTS. */
    zasl: at(0, u8),
  },
);
/** Identify Controller of the Zoned Namespace Command Set (CNS 06h, CSI 02h), decoded. */
export type IdentifyZonedController = ReturnType<typeof identifyZonedController.decode>;

/** Zone states (ZS). */
export const ZoneState = {
  /** Empty (ZSE): the write pointer is at the zone's start. */
  empty: 0x1,
  /** Implicitly opened (ZSIO), by a write. */
  implicitlyOpened: 0x2,
  /** Explicitly opened (ZSEO), by Zone Management Send. */
  explicitlyOpened: 0x3,
  /** Closed (ZSC): active, but not open. */
  closed: 0x4,
  /** Read only (ZSRO): no further writes. */
  readOnly: 0xd,
  /** Full (ZSF): no writes until a reset. */
  full: 0xe,
  /** Offline (ZSO): neither reads nor writes. */
  offline: 0xf,
} as const;

/** WP of a zone without a write pointer. */
export const NO_WRITE_POINTER = 0xffff_ffff_ffff_ffffn;
/** Zone Management Send, CDW13: all zones to which the action applies. */
export const ZONE_SELECT_ALL = 1 << 8;
/** Zone Management Receive, CDW13: the header counts only the zones in this report. */
export const ZONE_PARTIAL_REPORT = 1 << 16;

/** Zone type (ZT): sequential write required, the only one defined. */
export const ZONE_SEQUENTIAL_WRITE_REQUIRED = 2;

/** Bytes of a zone report's header, before the zone descriptors. */
export const ZONE_REPORT_HEADER_BYTES = 64;
/** Bytes of each zone descriptor in a report, without its extension. */
export const ZONE_DESCRIPTOR_BYTES = 64;

const zoneState: FieldType<number> = {
  sizeBytes: 1,
  alignBytes: 1,
  zero: () => 0,
  read: (view, offset) => view.getUint8(offset) >>> 4,
  write: (view, offset, value) => view.setUint8(offset, value << 4),
};

/** Zone Descriptor. */
export const zoneDescriptor = record("Zone Descriptor", ZONE_DESCRIPTOR_BYTES, {
  /** Zone type: 2, sequential write required. */
  zt: at(0, u8),
  /** Zone state; see {@link ZoneState}. */
  zs: at(1, zoneState),
  /**
   * Zone attributes (ZA): bit 0 finished by the controller, 1 finish recommended, 2 reset recommended, 7
   * extension valid.
   */
  za: at(2, u8),
  /** Zone attributes information: the recommended limits that apply (ZAI). */
  zai: at(3, u8),
  /** Zone capacity: number of blocks that can be written. */
  zcap: at(8, u64),
  /** First block of the zone. */
  zslba: at(16, u64),
  /** Write pointer: the next block to write. */
  wp: at(24, u64),
});
/** A zone descriptor, decoded. */
export type ZoneDescriptor = ReturnType<typeof zoneDescriptor.decode>;

/** Report Zones: its header. */
export const zoneReportHeader = record("Report Zones", ZONE_REPORT_HEADER_BYTES, { zones: at(0, u64) });
