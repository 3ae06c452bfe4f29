import { randomFillSync } from "node:crypto";
import { hostMemoryAttributes, hostMemoryDescriptor } from "../../nvme/spec/features.js";
import { NvmeStatus } from "../../nvme/spec/status.js";
import type { Command } from "./command.js";
import { type HostMemory, newSpan } from "./host-memory.js";
import type { SavedHostMemoryBuffer } from "./saved-state.js";

const TWO_32 = 2 ** 32;
const ENABLE = 1 << 0;
const MEMORY_RETURN = 1 << 1;
/** HMPRE and HMMIN. */
export const HOST_MEMORY_UNIT_BYTES = 4096;
/** HMMIN: what a controller makes do with that wants so much. */
export function leastHostMemoryUnits(wantedBytes: number): number {
  return Math.ceil(wantedBytes / HOST_MEMORY_UNIT_BYTES / 4);
}

/** More pieces than that are nobody's. */
const MOST_ENTRIES = 1024;
const STAMP_BYTES = 16;

/** Memory as Set Features names it: its pages, and the list of its pieces. */
type Offer = Pick<SavedHostMemoryBuffer, "pages" | "low" | "high" | "entries">;

/**
 * Host Memory Buffer: memory of the host that the controller has to itself. This one keeps a stamp of its own at the start
 * of each piece, by which it knows memory that it had before a reset.
 */
export class HostMemoryBuffer {
  private state: SavedHostMemoryBuffer = nothing;
  private readonly span = newSpan();

  constructor(
    private readonly memory: HostMemory,
    /** HMMIN in bytes. */
    private readonly leastBytes: number,
    private readonly pageBytes: () => number,
  ) {}

  get enabled(): boolean {
    return this.state.enabled;
  }

  /** Set Features. @returns a status */
  set(command: Command): number {
    const flags = command.cdw(11);
    if ((flags & ENABLE) === 0) {
      this.state = nothing;
      return NvmeStatus.success;
    }
    if (this.enabled) return NvmeStatus.commandSequenceError;
    const offer = {
      pages: command.cdw(12),
      low: command.cdw(13),
      high: command.cdw(14),
      entries: command.cdw(15),
    };
    return (flags & MEMORY_RETURN) === 0 ? this.take(offer) : this.takeBack(offer);
  }

  /** Get Features: what it was given. */
  attributes(): Uint8Array {
    const { pages, low, high, entries } = this.state;
    return hostMemoryAttributes.encode({ hsize: pages, hmdlal: low, hmdlau: high, hmdlec: entries });
  }

  /** The controller was reset: it has the memory no more, but may get it again. */
  reset(): void {
    this.state = { ...this.state, enabled: false };
  }

  save(): SavedHostMemoryBuffer {
    return this.state;
  }

  load(saved: SavedHostMemoryBuffer): void {
    this.state = saved;
  }

  private take(offer: Offer): number {
    const stamp = randomFillSync(new Uint8Array(STAMP_BYTES));
    const status = this.eachPiece(offer, (bytes, offset) => {
      bytes.set(stamp, offset);
      return true;
    });
    if (status === NvmeStatus.success) {
      this.state = { ...offer, enabled: true, stamp: Buffer.from(stamp).toString("hex") };
    }
    return status;
  }

  private takeBack(offer: Offer): number {
    const { state } = this;
    const isSame =
      offer.pages === state.pages &&
      offer.low === state.low &&
      offer.high === state.high &&
      offer.entries === state.entries;
    if (!isSame) return NvmeStatus.invalidField;
    const status = this.eachPiece(offer, (bytes, offset) => {
      return Buffer.from(bytes.subarray(offset, offset + STAMP_BYTES)).toString("hex") === state.stamp;
    });
    if (status === NvmeStatus.success) this.state = { ...state, enabled: true };
    return status;
  }

  /** Follows the list. @returns a status */
  private eachPiece(offer: Offer, visit: (bytes: Uint8Array, offset: number) => boolean): number {
    const { memory, span } = this;
    const { pages, low, high, entries } = offer;
    const pageBytes = this.pageBytes();
    const list = high * TWO_32 + low;
    const entryBytes = hostMemoryDescriptor.sizeBytes;
    if (pages * pageBytes < this.leastBytes || entries === 0 || entries > MOST_ENTRIES) {
      return NvmeStatus.invalidField;
    }
    if (list % entryBytes !== 0) return NvmeStatus.invalidField;
    let found = 0;
    for (let i = 0; i < entries; i++) {
      if (!memory.find(list + i * entryBytes, entryBytes, false, span)) return NvmeStatus.dataTransferError;
      const entry = hostMemoryDescriptor.decode(span.bytes.slice(span.offset, span.offset + entryBytes));
      const at = Number(entry.badd);
      if (at % pageBytes !== 0 || entry.bsize === 0) return NvmeStatus.invalidField;
      if (!memory.find(at, pageBytes, true, span)) return NvmeStatus.dataTransferError;
      if (!visit(span.bytes, span.offset)) return NvmeStatus.invalidField;
      found += entry.bsize;
    }
    return found === pages ? NvmeStatus.success : NvmeStatus.invalidField;
  }
}

const nothing: SavedHostMemoryBuffer = {
  enabled: false,
  pages: 0,
  low: 0,
  high: 0,
  entries: 0,
  stamp: "",
};
