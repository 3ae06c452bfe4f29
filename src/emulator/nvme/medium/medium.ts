/** The medium on which an emulated drive stores its data, and its implementation in memory. */
import { ConfigError } from "../../../core/errors.js";
import { closeAll } from "../../../core/lifetime/close-all.js";
import { Lease } from "../../../core/lifetime/lease.js";
import { Resource } from "../../../core/lifetime/resource.js";
import { copyBytes } from "../../../sys/copy.js";
import { MappedMemory } from "../../../sys/memory.js";
import { adviseHugePages } from "../../../sys/mmap.js";
import { memoryLimitBytes } from "./memory-limit.js";

/**
 * The bytes of an emulated drive, addressed from 0. Reading and writing are synchronous and on the I/O path. They return
 * `false` if the medium failed (the disk of a file is full or broken), and the command gets a media error.
 */
export interface Medium {
  readonly sizeBytes: number;
  /** Called before every fill(). */
  onFill: ((at: number, lengthBytes: number) => void) | undefined;
  /** Copies out to `target` from `targetAt` on. */
  read(at: number, target: Uint8Array, targetAt: number, lengthBytes: number): boolean;
  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): boolean;
  /** Sets bytes to `value`, which is 0 for deallocated blocks. */
  fill(at: number, lengthBytes: number, value: number): boolean;
  /** Makes what was written durable. */
  flush(): boolean;
  /**
   * Whether several emulators can use it, one after the other. It is then not part of a migration state, and only
   * the emulator that owns it may touch it.
   */
  readonly canBeShared: boolean;
  /** Takes ownership. @returns false if another emulator owns it */
  own(): boolean;
  /** Makes everything durable and gives ownership up. */
  giveUp(): void;
  close(): void;
}

/** Length of a chunk of memory. */
const CHUNK_BYTES = 2 ** 30;
const HUGE_PAGE_BYTES = 2 ** 21;

/** A medium in memory: gone when it is closed. Pages are taken from the system when first written. */
export class MemoryMedium extends Resource implements Medium {
  onFill: ((at: number, lengthBytes: number) => void) | undefined;
  private readonly chunks: readonly Uint8Array[];
  /** The first chunk: all of a medium that is not larger. */
  private readonly first: Uint8Array;

  private constructor(
    readonly sizeBytes: number,
    private readonly memories: readonly MappedMemory[],
  ) {
    super(new Lease(`${sizeBytes} bytes of emulated medium`, () => closeAll(memories, "closing a medium")));
    for (const memory of memories) memory.relinquish();
    this.chunks = memories.map((memory) => memory.bytes);
    this.first = this.chunks[0] ?? new Uint8Array(0);
  }

  /** @throws ConfigError if the machine has less memory than that, SysError, UnsupportedError (no address space) */
  static create(sizeBytes: number): MemoryMedium {
    // The system promises more memory than it has, and would end the process when it is written.
    const limit = memoryLimitBytes();
    if (sizeBytes > limit) {
      throw new ConfigError(
        `a medium of ${sizeBytes} bytes does not fit into memory: this process can have ${limit} bytes at most; ` +
          "choose a smaller size, or store the medium in a file",
      );
    }
    const memories: MappedMemory[] = [];
    try {
      for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
        const size = Math.min(CHUNK_BYTES, sizeBytes - at);
        const memory = MappedMemory.anonymous(size, { alignBytes: HUGE_PAGE_BYTES });
        memories.push(memory);
        // Huge pages: random access to small ones spends a good part of its time in the page tables. The option of
        // MappedMemory would take all of them from the system at once.
        adviseHugePages(memory.address, memory.sizeBytes);
      }
    } catch (error) {
      closeAll(memories, "undoing a medium");
      throw error;
    }
    return new MemoryMedium(sizeBytes, memories);
  }

  read(at: number, target: Uint8Array, targetAt: number, lengthBytes: number): boolean {
    const { first } = this;
    if (at + lengthBytes <= first.length) {
      copyBytes(target, targetAt, first, at, lengthBytes);
      return true;
    }
    const index = Math.floor(at / CHUNK_BYTES);
    const from = at - index * CHUNK_BYTES;
    const chunk = this.chunks[index];
    if (chunk === undefined) return false;
    const room = CHUNK_BYTES - from;
    if (lengthBytes <= room) {
      copyBytes(target, targetAt, chunk, from, lengthBytes);
      return true;
    }
    copyBytes(target, targetAt, chunk, from, room);
    return this.read(at + room, target, targetAt + room, lengthBytes - room);
  }

  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): boolean {
    const { first } = this;
    if (at + lengthBytes <= first.length) {
      copyBytes(first, at, source, sourceAt, lengthBytes);
      return true;
    }
    const index = Math.floor(at / CHUNK_BYTES);
    const from = at - index * CHUNK_BYTES;
    const chunk = this.chunks[index];
    if (chunk === undefined) return false;
    const room = CHUNK_BYTES - from;
    if (lengthBytes <= room) {
      copyBytes(chunk, from, source, sourceAt, lengthBytes);
      return true;
    }
    copyBytes(chunk, from, source, sourceAt, room);
    return this.write(at + room, source, sourceAt + room, lengthBytes - room);
  }

  fill(at: number, lengthBytes: number, value: number): boolean {
    this.onFill?.(at, lengthBytes);
    for (let done = 0; done < lengthBytes; ) {
      const index = Math.floor((at + done) / CHUNK_BYTES);
      const from = at + done - index * CHUNK_BYTES;
      const count = Math.min(lengthBytes - done, CHUNK_BYTES - from);
      const chunk = this.chunks[index];
      const memory = this.memories[index];
      if (chunk === undefined || memory === undefined) return false;
      if (value === 0) memory.clear(from, count);
      else chunk.fill(value, from, from + count);
      done += count;
    }
    return true;
  }

  flush(): boolean {
    return true;
  }

  get canBeShared(): boolean {
    return false;
  }

  own(): boolean {
    return true;
  }

  giveUp(): void {}
}
