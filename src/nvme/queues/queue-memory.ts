/** The memory of a queue pair: both rings, and the list pages of its commands. */
import { closeAll } from "../../core/lifetime/close-all.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { PrpList } from "../command/prp.js";
import type { RingBuffers } from "../command/queue.js";
import { CQE_BYTES, CQE_WORDS } from "../spec/queue-entries.js";
import { allocRing, checkRing, clearRing } from "./ring-memory.js";

const TWO_32 = 2 ** 32;

interface MemoryOptions {
  readonly space: DmaSpace;
  readonly entries: number;
  /** From one entry of the submission queue to the next, in 32-bit words. */
  readonly entryWords: number;
  /** PRP list pages of all commands. */
  readonly listBytes: number;
  readonly pageBytes: number;
  readonly given?: RingBuffers | undefined;
}

/** A part of a buffer, from an offset on, as list memory. @param words of the buffer */
export function listIn(buffer: DmaBuffer, words: Uint32Array, offset: number): PrpList {
  const low = buffer.iovaLow + offset;
  return {
    words,
    at: offset / 4,
    iovaLow: low % TWO_32,
    iovaHigh: buffer.iovaHigh + Math.floor(low / TWO_32),
  };
}

/** Both rings, and the list pages of all commands. */
export class QueueMemory {
  readonly submission: DmaBuffer;
  readonly completion: DmaBuffer;
  readonly lists: DmaBuffer;
  /** Exactly the rings' words. */
  readonly sqWords: Uint32Array;
  readonly cqWords: Uint32Array;
  private readonly listWords: Uint32Array;
  private readonly own: DmaBuffer[] = [];
  private readonly given: DmaBuffer[] = [];
  private isClosed = false;

  /** @throws ArgumentError if a given buffer is unsuitable, ClosedError, SysError; nothing stays allocated */
  constructor({ space, entries, entryWords, listBytes, pageBytes, given = {} }: MemoryOptions) {
    const alloc = (sizeBytes: number): DmaBuffer => {
      const buffer = allocRing(space, sizeBytes, pageBytes);
      this.own.unshift(buffer);
      return buffer;
    };
    const take = (name: string, buffer: DmaBuffer, sizeBytes: number): DmaBuffer => {
      checkRing(name, buffer, space, sizeBytes, pageBytes);
      buffer.lease.pin("an I/O queue");
      this.given.push(buffer);
      return buffer;
    };
    const ring = (name: string, buffer: DmaBuffer | undefined, sizeBytes: number): DmaBuffer =>
      buffer === undefined ? alloc(sizeBytes) : take(name, buffer, sizeBytes);
    try {
      this.submission = ring("memory.submission", given.submission, entries * entryWords * 4);
      this.completion = ring("memory.completion", given.completion, entries * CQE_BYTES);
      this.lists = ring("memory.lists", given.lists, Math.max(1, listBytes));
      this.sqWords = this.submission.memory.words.subarray(0, entries * entryWords);
      this.cqWords = this.completion.memory.words.subarray(0, entries * CQE_WORDS);
      this.listWords = this.lists.memory.words;
      this.clear();
    } catch (error) {
      this.close();
      throw error;
    }
    for (const buffer of this.own) buffer.relinquish();
  }

  /** Zeroes the rings, for a controller that restarts. */
  clear(): void {
    clearRing(this.cqWords);
    clearRing(this.sqWords);
  }

  /** List memory from an offset on. */
  listAt(offset: number): PrpList {
    return listIn(this.lists, this.listWords, offset);
  }

  /** Frees the memory. Call it when the controller doesn't use it any more. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const { lease } of this.given) lease.unpin();
    closeAll(this.own, "closing the memory of a queue pair");
  }
}
