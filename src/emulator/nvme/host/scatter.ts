/** A list of memory pieces that hold the data of one command. */
import type { Medium } from "../medium/medium.js";
import type { HostMemory } from "./host-memory.js";
import { newSpan } from "./host-memory.js";

/** Pieces a block of host memory is cut into where it isn't mapped in one. */
const PIECE_BYTES = 4096;
/** Offset of a bit bucket. */
const BUCKET = -1;

/**
 * Where a command's data is, as the walk over its PRPs or SGL found it: pieces of host memory in order, adjacent ones
 * merged. Made once and filled for every command.
 */
export class Scatter {
  private readonly arenas: Uint8Array[];
  private readonly offsets: Float64Array;
  private readonly lengths: Float64Array;
  private readonly span = newSpan();
  private count = 0;
  private total = 0;

  constructor(private readonly capacity: number) {
    this.arenas = new Array<Uint8Array>(capacity).fill(this.span.bytes);
    this.offsets = new Float64Array(capacity);
    this.lengths = new Float64Array(capacity);
  }

  /** Bytes in all pieces. */
  get lengthBytes(): number {
    return this.total;
  }

  clear(): void {
    this.count = 0;
    this.total = 0;
  }

  /** Whether another piece can be added. */
  get full(): boolean {
    return this.count === this.capacity;
  }

  /** Adds host memory. @returns false if it isn't mapped, or there are too many pieces */
  add(memory: HostMemory, iova: number, lengthBytes: number, write: boolean): boolean {
    const { span } = this;
    if (memory.find(iova, lengthBytes, write, span)) {
      return this.append(span.bytes, span.offset, lengthBytes);
    }
    if (
      lengthBytes <= PIECE_BYTES &&
      Math.floor(iova / PIECE_BYTES) === Math.floor((iova + lengthBytes - 1) / PIECE_BYTES)
    )
      return false;
    // Two mappings side by side may hold it together.
    for (let done = 0; done < lengthBytes; ) {
      const piece = Math.min(lengthBytes - done, PIECE_BYTES - ((iova + done) % PIECE_BYTES));
      if (!memory.find(iova + done, piece, write, span)) return false;
      if (!this.append(span.bytes, span.offset, piece)) return false;
      done += piece;
    }
    return true;
  }

  /** Adds a bit bucket. */
  addBucket(lengthBytes: number): boolean {
    if (this.full) return false;
    this.offsets[this.count] = BUCKET;
    this.lengths[this.count] = lengthBytes;
    this.count++;
    this.total += lengthBytes;
    return true;
  }

  /** Whether any of it lies in this memory. */
  touches(arena: (bytes: Uint8Array) => boolean): boolean {
    return this.some(arena);
  }

  /** Whether any of it lies elsewhere; bit buckets lie nowhere. */
  leaves(arena: (bytes: Uint8Array) => boolean): boolean {
    return this.some((bytes) => !arena(bytes));
  }

  private some(matches: (bytes: Uint8Array) => boolean): boolean {
    for (let i = 0; i < this.count; i++) {
      const bytes = this.arenas[i];
      if (bytes !== undefined && this.offsets[i] !== BUCKET && matches(bytes)) return true;
    }
    return false;
  }

  /** Removes all but the first bytes, for the fault `short-data`. */
  truncate(lengthBytes: number): void {
    let left = lengthBytes;
    for (let i = 0; i < this.count; i++) {
      const length = this.lengths[i] ?? 0;
      if (length < left) {
        left -= length;
        continue;
      }
      this.lengths[i] = left;
      this.count = left === 0 ? i : i + 1;
      this.total = lengthBytes;
      return;
    }
  }

  /** Inverts one bit of the first byte, for the fault `corrupt-data`. */
  corrupt(): void {
    const offset = this.offsets[0] ?? BUCKET;
    const arena = this.arenas[0];
    if (this.count > 0 && offset !== BUCKET && arena !== undefined) arena[offset] = (arena[offset] ?? 0) ^ 1;
  }

  /** From the medium to the host. */
  fromMedium(medium: Medium, at: number): boolean {
    let from = at;
    for (let i = 0; i < this.count; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = this.lengths[i] ?? 0;
      const arena = this.arenas[i];
      if (offset !== BUCKET && arena !== undefined && !medium.read(from, arena, offset, length)) return false;
      from += length;
    }
    return true;
  }

  /** From the host to the medium. */
  toMedium(medium: Medium, at: number): boolean {
    let to = at;
    for (let i = 0; i < this.count; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = this.lengths[i] ?? 0;
      const arena = this.arenas[i];
      if (offset === BUCKET || arena === undefined) continue;
      if (!medium.write(to, arena, offset, length)) return false;
      to += length;
    }
    return true;
  }

  /** Copies from own memory to the host, as much as both have. */
  fromBytes(source: Uint8Array): void {
    let from = 0;
    for (let i = 0; i < this.count && from < source.length; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = Math.min(this.lengths[i] ?? 0, source.length - from);
      if (offset !== BUCKET) this.arenas[i]?.set(source.subarray(from, from + length), offset);
      from += length;
    }
  }

  /** Copies from the host to own memory, as much as both have. */
  toBytes(target: Uint8Array): void {
    let to = 0;
    for (let i = 0; i < this.count && to < target.length; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = Math.min(this.lengths[i] ?? 0, target.length - to);
      const arena = this.arenas[i];
      if (offset === BUCKET || arena === undefined) continue;
      target.set(arena.subarray(offset, offset + length), to);
      to += length;
    }
  }

  private append(arena: Uint8Array, offset: number, lengthBytes: number): boolean {
    const last = this.count - 1;
    if (
      last >= 0 &&
      this.arenas[last] === arena &&
      (this.offsets[last] ?? 0) + (this.lengths[last] ?? 0) === offset &&
      this.offsets[last] !== BUCKET
    ) {
      this.lengths[last] = (this.lengths[last] ?? 0) + lengthBytes;
    } else {
      if (this.full) return false;
      this.arenas[this.count] = arena;
      this.offsets[this.count] = offset;
      this.lengths[this.count] = lengthBytes;
      this.count++;
    }
    this.total += lengthBytes;
    return true;
  }
}
