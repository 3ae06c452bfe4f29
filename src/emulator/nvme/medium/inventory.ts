/** The namespaces of a medium, and the record of them on it. */
import * as z from "zod/mini";
import { ConfigError } from "../../../core/errors.js";
import { lazily } from "../../../core/lazy.js";
import { integer, Problems, read } from "../../../core/options.js";
import { type Layout, STATE_SLOT_BYTES, STATE_SLOTS, UNIT_BYTES } from "./layout.js";
import { lbaFormats, protectionBytes } from "./lba-formats.js";
import type { Medium } from "./medium.js";
import { EmulatedNamespace, type NamespaceRecord } from "./namespace.js";
import {
  initialState,
  type PersistentState,
  type PersistentStore,
  persistentStateSchema,
} from "./persistent-state.js";
import { crc16 } from "./protection.js";
import { parseJson } from "./state-schema.js";

/** Most namespaces of one controller (NN). */
export const MAX_NAMESPACES = 128;

const MAGIC = "iova-nvme-1\n";
/** Magic, then sequence number, length and checksum of the text. */
const HEADER_BYTES = MAGIC.length + 12;

const stateSchema = lazily(() =>
  z.strictObject({
    namespaces: z
      .array(
        z.strictObject({
          nsid: integer(1, MAX_NAMESPACES),
          startBytes: integer(0).check(z.multipleOf(UNIT_BYTES)),
          sizeBytes: integer(512),
          format: integer(0, lbaFormats.length - 1),
          extended: z.boolean(),
          protection: integer(0, 3),
          protectionFirst: z.boolean(),
          zones: z.nullable(
            z.strictObject({
              zoneSizeBytes: integer(UNIT_BYTES).check(z.multipleOf(UNIT_BYTES)),
              zoneCapacityBytes: integer(512),
              maxOpen: integer(0),
              maxActive: integer(0),
            }),
          ),
          keyValue: z.optional(z.boolean()),
          attached: z.boolean(),
        }),
      )
      .check(z.maxLength(MAX_NAMESPACES)),
    /** Records of earlier emulators have none. */
    controller: z.optional(persistentStateSchema()),
  }),
);

/**
 * The namespaces of a medium and their places, and the persistent state. The medium itself holds the record of both.
 */
export class Inventory implements PersistentStore {
  persistent: PersistentState = initialState;
  private readonly byId = new Map<number, EmulatedNamespace>();
  private sequence = 0;

  constructor(
    private readonly medium: Medium,
    readonly layout: Layout,
  ) {}

  /** Allocated namespaces in ascending order of their ids. */
  get all(): EmulatedNamespace[] {
    return [...this.byId.values()].sort((a, b) => a.nsid - b.nsid);
  }

  get(nsid: number): EmulatedNamespace | undefined {
    return this.byId.get(nsid);
  }

  /** Bytes that belong to no namespace. */
  get unallocatedBytes(): number {
    return this.all.reduce((left, { record }) => left - roundUp(record.sizeBytes), this.layout.capacityBytes);
  }

  /** The lowest free id, or undefined. */
  freeId(): number | undefined {
    for (let nsid = 1; nsid <= MAX_NAMESPACES; nsid++) if (!this.byId.has(nsid)) return nsid;
    return undefined;
  }

  /** The first place with room for so many bytes in one piece, or undefined. */
  findRoom(sizeBytes: number): number | undefined {
    let at = 0;
    const inOrder = this.all.sort((a, b) => a.dataAt - b.dataAt);
    for (const { record } of inOrder) {
      if (at + sizeBytes <= record.startBytes) return at;
      at = record.startBytes + roundUp(record.sizeBytes);
    }
    return at + sizeBytes <= this.layout.capacityBytes ? at : undefined;
  }

  /**
   * Makes an empty namespace. It replaces one with the same id, which is then formatted.
   * @returns false if the medium failed
   */
  create(record: NamespaceRecord): boolean {
    const namespace = new EmulatedNamespace(record, this.medium, this.layout);
    namespace.eraseZones();
    this.byId.set(record.nsid, namespace);
    return namespace.deallocate(0, namespace.sizeBlocks) && this.store();
  }

  attach(nsid: number, attached: boolean): boolean {
    const namespace = this.byId.get(nsid);
    if (namespace === undefined) return false;
    namespace.attached = attached;
    return this.store();
  }

  delete(nsid: number): boolean {
    this.byId.delete(nsid);
    return this.store();
  }

  /**
   * Makes all namespaces anew, after the medium was erased under them.
   * @param deallocated their blocks are deallocated
   * @returns false if the medium failed
   */
  renew(deallocated: boolean): boolean {
    let done = true;
    for (const { record, attached } of this.all) {
      const namespace = new EmulatedNamespace({ ...record, attached }, this.medium, this.layout);
      namespace.eraseZones();
      this.byId.set(record.nsid, namespace);
      if (deallocated) done = namespace.deallocate(0, namespace.sizeBlocks) && done;
    }
    return done;
  }

  persist(changes: Partial<PersistentState>): boolean {
    this.persistent = { ...this.persistent, ...changes };
    return this.store();
  }

  /** Writes the record of namespaces to the older of its two places. */
  private store(): boolean {
    const text = Buffer.from(
      JSON.stringify({
        namespaces: this.all.map(({ record, attached }) => ({ ...record, attached })),
        controller: this.persistent,
      }),
    );
    if (HEADER_BYTES + text.length > STATE_SLOT_BYTES) return false;
    this.sequence++;
    const slot = Buffer.alloc(STATE_SLOT_BYTES);
    slot.write(MAGIC, "latin1");
    slot.writeUInt32LE(this.sequence, MAGIC.length);
    slot.writeUInt32LE(text.length, MAGIC.length + 4);
    slot.writeUInt32LE(crc16(text, 0, text.length), MAGIC.length + 8);
    text.copy(slot, HEADER_BYTES);
    const at = this.layout.stateAt(this.sequence % STATE_SLOTS);
    return this.medium.write(at, slot, 0, STATE_SLOT_BYTES) && this.medium.flush();
  }

  /** Whether another emulator has changed the record since it was read or written here. */
  get isStale(): boolean {
    return this.readNewest()?.sequence !== this.sequence;
  }

  /** Marks the medium as changed, for the emulator that had it before. @returns false if the medium failed */
  mark(): boolean {
    return this.store();
  }

  /**
   * Loads the namespaces of the medium.
   * @throws ConfigError if it has no valid record of them, with nothing changed
   */
  load(what: string): void {
    const newest = this.readNewest();
    if (newest === undefined)
      throw new ConfigError(`${what} is not the medium of an emulated NVMe controller`);
    const state = read(stateSchema(), parseJson(newest.text));
    if (state instanceof Problems) throw new ConfigError(`${what}: its record of namespaces is damaged`);
    const found = new Map<number, EmulatedNamespace>();
    for (const record of state.namespaces) {
      if (!isPossible(record))
        throw new ConfigError(`${what}: namespace ${record.nsid} is recorded with impossible values`);
      if (record.startBytes + roundUp(record.sizeBytes) > this.layout.capacityBytes) {
        throw new ConfigError(`${what}: namespace ${record.nsid} lies outside of the medium`);
      }
      const namespace = new EmulatedNamespace(record, this.medium, this.layout);
      namespace.restoreZones();
      found.set(record.nsid, namespace);
    }
    this.sequence = newest.sequence;
    this.persistent = state.controller ?? initialState;
    this.byId.clear();
    for (const [nsid, namespace] of found) this.byId.set(nsid, namespace);
  }

  private readNewest(): { sequence: number; text: string } | undefined {
    let newest: { sequence: number; text: string } | undefined;
    for (let slot = 0; slot < STATE_SLOTS; slot++) {
      const found = this.readSlot(slot);
      if (found !== undefined && found.sequence > (newest?.sequence ?? -1)) newest = found;
    }
    return newest;
  }

  private readSlot(slot: number): { sequence: number; text: string } | undefined {
    const bytes = Buffer.alloc(STATE_SLOT_BYTES);
    if (!this.medium.read(this.layout.stateAt(slot), bytes, 0, STATE_SLOT_BYTES)) return undefined;
    if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return undefined;
    const length = bytes.readUInt32LE(MAGIC.length + 4);
    const end = HEADER_BYTES + length;
    if (end > STATE_SLOT_BYTES || bytes.readUInt32LE(MAGIC.length + 8) !== crc16(bytes, HEADER_BYTES, end)) {
      return undefined;
    }
    return { sequence: bytes.readUInt32LE(MAGIC.length), text: bytes.toString("utf8", HEADER_BYTES, end) };
  }
}

/** Whether options or Namespace Management can have made this namespace. */
function isPossible({ format, protection, zones }: NamespaceRecord): boolean {
  const shape = lbaFormats[format];
  if (shape === undefined) return false;
  if (protection !== 0 && shape.metadataBytes < protectionBytes(shape.guardBits)) return false;
  return (
    zones === null ||
    (shape.metadataBytes === 0 &&
      zones.zoneCapacityBytes <= zones.zoneSizeBytes &&
      zones.zoneCapacityBytes % shape.blockSizeBytes === 0)
  );
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / UNIT_BYTES) * UNIT_BYTES;
}
