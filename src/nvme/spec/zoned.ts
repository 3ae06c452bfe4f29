/** Zoned Namespace Command Set 1.x: its Identify structures and zone reports. */
import { array, bytes, type FieldType, u8, u16, u32, u64 } from "../../core/struct.js";
import { IDENTIFY_BYTES } from "./identify.js";
import { at, record } from "./record.js";

/** One LBA format's extension: zone size in blocks, and bytes of a zone descriptor extension. */
export interface ZonedLbaFormat {
  readonly zoneSizeBlocks: bigint;
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

/** CNS 05h, CSI 02h. MAR and MOR are zero-based; all ones is no limit. */
export const identifyZonedNamespace = record(
  "I/O Command Set specific Identify Namespace (ZNS)",
  IDENTIFY_BYTES,
  {
    zoc: at(0, u16),
    ozcs: at(2, u16),
    mar: at(4, u32),
    mor: at(8, u32),
    rrl: at(12, u32),
    frl: at(16, u32),
    rrl1: at(20, u32),
    rrl2: at(24, u32),
    rrl3: at(28, u32),
    frl1: at(32, u32),
    frl2: at(36, u32),
    frl3: at(40, u32),
    numzrwa: at(44, u32),
    zrwafg: at(48, u16),
    zrwasz: at(50, u16),
    zrwacap: at(52, u8),
    lbafe: at(2816, array(zonedLbaFormat, 64)),
    /** Vendor specific. */
    vs: at(3840, bytes(256)),
  },
);
export type IdentifyZonedNamespace = ReturnType<typeof identifyZonedNamespace.decode>;

/** CNS 06h, CSI 02h. ZASL as MDTS: log2 of minimum memory pages, 0 is no limit but MDTS. */
export const identifyZonedController = record(
  "I/O Command Set specific Identify Controller (ZNS)",
  IDENTIFY_BYTES,
  { zasl: at(0, u8) },
);
export type IdentifyZonedController = ReturnType<typeof identifyZonedController.decode>;

/** Zone states (ZS). */
export const ZoneState = {
  empty: 0x1,
  implicitlyOpened: 0x2,
  explicitlyOpened: 0x3,
  closed: 0x4,
  readOnly: 0xd,
  full: 0xe,
  offline: 0xf,
} as const;

/** Zone type (ZT): the only one there is. */
export const ZONE_SEQUENTIAL_WRITE_REQUIRED = 2;

/** Bytes of a report's header, and of each zone's descriptor after it. */
export const ZONE_REPORT_HEADER_BYTES = 64;
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
  zt: at(0, u8),
  zs: at(1, zoneState),
  za: at(2, u8),
  zai: at(3, u8),
  zcap: at(8, u64),
  zslba: at(16, u64),
  wp: at(24, u64),
});
export type ZoneDescriptor = ReturnType<typeof zoneDescriptor.decode>;

/** Report Zones: its header. */
export const zoneReportHeader = record("Report Zones", ZONE_REPORT_HEADER_BYTES, { zones: at(0, u64) });
