/** A namespace on the medium: where its blocks, metadata and zones are. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { CommandSet } from "../../../nvme/spec/opcodes.js";
import { BlockSet } from "./block-set.js";
import { KeyValues } from "./key-values.js";
import { type Layout, ZONE_RECORD_BYTES } from "./layout.js";
import { type EmulatedLbaFormat, lbaFormats } from "./lba-formats.js";
import type { Medium } from "./medium.js";
import { Protection } from "./protection.js";
import { count, pairs, u32 } from "./state-schema.js";
import { ZoneSet } from "./zones.js";

/** The part of a migration state that holds what the medium doesn't have of a namespace. */
export const namespaceState = lazily(() =>
  z.strictObject({
    nsid: u32(),
    /** Open zones: the medium records them as closed. */
    open: pairs(),
    /** Blocks that Write Uncorrectable has marked, 32 in an entry. */
    uncorrectable: z.array(z.tuple([count(), u32()])).check(z.maxLength(1 << 20)),
    /** Keys in hexadecimal, and values in base64. */
    values: z.optional(z.array(z.tuple([z.string(), z.base64()])).check(z.maxLength(1 << 20))),
  }),
);
export type NamespaceState = z.output<ReturnType<typeof namespaceState>>;

/** How a zoned namespace is cut, in bytes; blocks follow from its format. */
export interface ZoneShape {
  readonly zoneSizeBytes: number;
  readonly zoneCapacityBytes: number;
  /** 0 for no limit. */
  readonly maxOpen: number;
  readonly maxActive: number;
}

/** The persistent description of a namespace. */
export interface NamespaceRecord {
  readonly nsid: number;
  /** Start of its data in the medium. */
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** Index in {@link lbaFormats}. */
  readonly format: number;
  /** Metadata is transferred behind each block's data, and not by its own pointer. */
  readonly extended: boolean;
  /** Protection information: 0 is none, 1 to 3 its type. */
  readonly protection: number;
  /** It stands in the metadata's first bytes. */
  readonly protectionFirst: boolean;
  readonly zones: ZoneShape | null;
  /** It has keys and values instead of blocks. */
  readonly keyValue?: boolean | undefined;
  readonly attached: boolean;
}

/** A namespace: a range of the medium under a format. A new object is made when it is formatted. */
export class EmulatedNamespace {
  readonly nsid: number;
  readonly csi: number;
  readonly blockBytes: number;
  readonly metadataBytes: number;
  /** NSZE. */
  readonly sizeBlocks: number;
  /** Where its data and its metadata start in the medium. */
  readonly dataAt: number;
  readonly metadataAt: number;
  readonly format: EmulatedLbaFormat;
  readonly protection: Protection | undefined;
  readonly zones: ZoneSet | undefined;
  /** Whether it is attached to the controller. Commands reach only attached namespaces. */
  attached: boolean;
  /** Blocks that Write Uncorrectable has marked. */
  readonly uncorrectable: BlockSet;
  /** Of a key value namespace: its values, which are in memory. */
  readonly values: KeyValues | undefined;

  constructor(
    readonly record: NamespaceRecord,
    private readonly medium: Medium,
    private readonly layout: Layout,
  ) {
    const format = lbaFormats[record.format];
    if (format === undefined) throw new RangeError(`there is no LBA format ${record.format}`);
    this.format = format;
    this.nsid = record.nsid;
    this.attached = record.attached;
    this.blockBytes = format.blockSizeBytes;
    this.metadataBytes = format.metadataBytes;
    this.sizeBlocks = Math.floor(record.sizeBytes / format.blockSizeBytes);
    this.dataAt = record.startBytes;
    this.metadataAt = layout.metadataAt(record.startBytes);
    this.values = record.keyValue === true ? new KeyValues(record.sizeBytes) : undefined;
    this.csi =
      this.values !== undefined
        ? CommandSet.keyValue
        : record.zones === null
          ? CommandSet.nvm
          : CommandSet.zoned;
    this.uncorrectable = new BlockSet();
    if (record.protection !== 0) {
      this.protection = new Protection({
        type: record.protection,
        guardBits: format.guardBits,
        blockSizeBytes: format.blockSizeBytes,
        metadataBytes: format.metadataBytes,
        first: record.protectionFirst,
      });
    }
    if (record.zones !== null) this.zones = this.makeZones(record.zones);
  }

  /** Sets blocks to what deallocated blocks read as: zeros, and protection that checks nothing. */
  deallocate(lba: number, blocks: number): boolean {
    const { medium, metadataBytes, blockBytes } = this;
    if (this.uncorrectable.size > 0) this.uncorrectable.delete(lba, blocks);
    if (!medium.fill(this.dataAt + lba * blockBytes, blocks * blockBytes, 0)) return false;
    if (metadataBytes === 0) return true;
    const value = this.protection === undefined ? 0 : 0xff;
    return medium.fill(this.metadataAt + lba * metadataBytes, blocks * metadataBytes, value);
  }

  /** The part of its state that isn't on the medium. */
  save(): NamespaceState {
    return {
      nsid: this.nsid,
      open: this.zones?.opened ?? [],
      uncorrectable: this.uncorrectable.save(),
      values: this.values?.save(),
    };
  }

  /** Restores what fits; ignores the rest. */
  load({ open, uncorrectable, values }: NamespaceState): void {
    this.values?.load(values ?? []);
    for (const [zone, state] of open) this.zones?.reopen(zone, state);
    this.uncorrectable.load(uncorrectable);
  }

  /** Loads the zones from the medium. */
  restoreZones(): void {
    const { zones } = this;
    if (zones === undefined) return;
    const bytes = new Uint8Array(ZONE_RECORD_BYTES);
    const view = new DataView(bytes.buffer);
    for (let zone = 0; zone < zones.geometry.zones; zone++) {
      if (!this.medium.read(this.zoneRecordAt(zone), bytes, 0, ZONE_RECORD_BYTES)) return;
      zones.restore(zone, view.getUint8(0), view.getUint32(4, true));
    }
  }

  /** Erases the records of zones that an earlier namespace left here. */
  eraseZones(): void {
    const { zones } = this;
    for (let zone = 0; zone < (zones?.geometry.zones ?? 0); zone++) this.storeZone(zone);
  }

  private makeZones(shape: ZoneShape): ZoneSet {
    const zones = new ZoneSet(
      {
        zoneSizeBlocks: shape.zoneSizeBytes / this.blockBytes,
        zoneCapacityBlocks: Math.floor(shape.zoneCapacityBytes / this.blockBytes),
        zones: Math.floor(this.record.sizeBytes / shape.zoneSizeBytes),
        maxOpen: shape.maxOpen,
        maxActive: shape.maxActive,
      },
      (zone) => this.storeZone(zone),
    );
    return zones;
  }

  private zoneRecordAt(zone: number): number {
    return this.layout.zoneAt(this.dataAt + zone * (this.record.zones?.zoneSizeBytes ?? 0));
  }

  private storeZone(zone: number): void {
    const { zones, zoneRecord } = this;
    if (zones === undefined) return;
    zoneRecord[0] = zones.states[zone] ?? 0;
    new DataView(zoneRecord.buffer).setUint32(4, zones.written[zone] ?? 0, true);
    this.medium.write(this.zoneRecordAt(zone), zoneRecord, 0, ZONE_RECORD_BYTES);
  }

  private readonly zoneRecord = new Uint8Array(ZONE_RECORD_BYTES);
}
