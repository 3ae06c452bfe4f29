/** A list of memory pieces that hold the data of one command. */
import type { Medium } from "../medium/medium.js";
import type { HostMemory } from "./host-memory.js";
import { newSpan } from "./host-memory.js";

/** Pieces a block of host memory is cut into where it isn't mapped in one. */
const PIECE_BYTES = 4096;
/** Offset of a bit bucket. */
const BUCKET = -1;
/** In place of an arena: the piece isn't mapped in one, and its offset is an I/O virtual address. */
const COPIED = new Uint8Array(0);
const BOUNCE_BYTES = 64 * 1024;

/**
 * Where a command's data is, as the walk over its PRPs or SGL found it: pieces of host memory in order, adjacent ones
 * merged. Made once and filled for every command.
 */
export class Scatter {
  private readonly arenas: Uint8Array[];
  private readonly offsets: Float64Array;
  private readonly lengths: Float64Array;
  private readonly span = newSpan();
  /** Where pieces are copied from and to. */
  private memory: HostMemory | undefined;
  private bounceBuffer: Uint8Array | undefined;
  private lost = false;
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

  /** Whether the last transfer failed because memory of the host was gone. */
  get isLost(): boolean {
    return this.lost;
  }

  clear(): void {
    this.count = 0;
    this.total = 0;
    this.lost = false;
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
    // Several mappings side by side may hold it together, or it isn't mapped in this process.
    this.memory = memory;
    for (let done = 0; done < lengthBytes; ) {
      const at = iova + done;
      const piece = Math.min(lengthBytes - done, PIECE_BYTES - (at % PIECE_BYTES));
      const isMapped = memory.find(at, piece, write, span);
      if (!isMapped && !memory.canCopy(at, piece, write)) return false;
      if (!this.append(isMapped ? span.bytes : COPIED, isMapped ? span.offset : at, piece)) return false;
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
    if (this.count === 0 || offset === BUCKET || arena === undefined) return;
    if (arena !== COPIED) {
      arena[offset] = (arena[offset] ?? 0) ^ 1;
      return;
    }
    const byte = new Uint8Array(1);
    if (this.memory?.copyFrom(offset, byte) !== true) return;
    byte[0] = (byte[0] ?? 0) ^ 1;
    this.memory.copyTo(offset, byte);
  }

  /** From the medium to the host. @returns false if the medium failed, or {@link isLost} */
  fromMedium(medium: Medium, at: number): boolean {
    let from = at;
    for (let i = 0; i < this.count; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = this.lengths[i] ?? 0;
      const arena = this.arenas[i];
      if (offset !== BUCKET && arena !== undefined) {
        const done =
          arena === COPIED
            ? this.copyFromMedium(medium, from, offset, length)
            : medium.read(from, arena, offset, length);
        if (!done) return false;
      }
      from += length;
    }
    return true;
  }

  /** From the host to the medium. @returns false as {@link fromMedium} */
  toMedium(medium: Medium, at: number): boolean {
    let to = at;
    for (let i = 0; i < this.count; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = this.lengths[i] ?? 0;
      const arena = this.arenas[i];
      if (offset === BUCKET || arena === undefined) continue;
      const done =
        arena === COPIED
          ? this.copyToMedium(medium, to, offset, length)
          : medium.write(to, arena, offset, length);
      if (!done) return false;
      to += length;
    }
    return true;
  }

  /** Copies from own memory to the host, as much as both have. @returns false if {@link isLost} */
  fromBytes(source: Uint8Array): boolean {
    let from = 0;
    for (let i = 0; i < this.count && from < source.length; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = Math.min(this.lengths[i] ?? 0, source.length - from);
      const arena = this.arenas[i];
      if (offset !== BUCKET && arena !== undefined) {
        const part = source.subarray(from, from + length);
        if (arena !== COPIED) arena.set(part, offset);
        else if (!this.found(this.memory?.copyTo(offset, part))) return false;
      }
      from += length;
    }
    return true;
  }

  /** Copies from the host to own memory, as much as both have. @returns false if {@link isLost} */
  toBytes(target: Uint8Array): boolean {
    let to = 0;
    for (let i = 0; i < this.count && to < target.length; i++) {
      const offset = this.offsets[i] ?? BUCKET;
      const length = Math.min(this.lengths[i] ?? 0, target.length - to);
      const arena = this.arenas[i];
      if (offset === BUCKET || arena === undefined) continue;
      if (arena !== COPIED) target.set(arena.subarray(offset, offset + length), to);
      else if (!this.found(this.memory?.copyFrom(offset, target.subarray(to, to + length)))) return false;
      to += length;
    }
    return true;
  }

  private copyFromMedium(medium: Medium, from: number, iova: number, lengthBytes: number): boolean {
    const { bounce } = this;
    for (let done = 0; done < lengthBytes; done += bounce.length) {
      const count = Math.min(lengthBytes - done, bounce.length);
      if (!medium.read(from + done, bounce, 0, count)) return false;
      if (!this.found(this.memory?.copyTo(iova + done, bounce.subarray(0, count)))) return false;
    }
    return true;
  }

  private copyToMedium(medium: Medium, to: number, iova: number, lengthBytes: number): boolean {
    const { bounce } = this;
    for (let done = 0; done < lengthBytes; done += bounce.length) {
      const count = Math.min(lengthBytes - done, bounce.length);
      if (!this.found(this.memory?.copyFrom(iova + done, bounce.subarray(0, count)))) return false;
      if (!medium.write(to + done, bounce, 0, count)) return false;
    }
    return true;
  }

  /** Notes whether memory was there. */
  private found(copied: boolean | undefined): boolean {
    this.lost = copied !== true;
    return !this.lost;
  }

  private get bounce(): Uint8Array {
    this.bounceBuffer ??= new Uint8Array(new SharedArrayBuffer(BOUNCE_BYTES));
    return this.bounceBuffer;
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
