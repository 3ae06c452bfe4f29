/** The memory of a queue pair: both rings, and the list pages of its commands. */
import { ArgumentError } from "../../core/errors.js";
import { closeAll } from "../../core/lifetime/close-all.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { PrpList } from "../command/prp.js";
import type { RingBuffers } from "../command/queue.js";
import { CQE_WORDS } from "./completion-queue.js";
import { SQE_WORDS } from "./submission-entry.js";

const SQE_BYTES = SQE_WORDS * 4;
const CQE_BYTES = CQE_WORDS * 4;
const TWO_32 = 2 ** 32;

interface MemoryOptions {
  readonly space: DmaSpace;
  readonly entries: number;
  /** PRP list pages of all commands. */
  readonly listBytes: number;
  readonly pageBytes: number;
  readonly given?: RingBuffers | undefined;
}

/** What a queue pair lies in: both rings, and the list pages of its commands. */
export class QueueMemory {
  readonly submission: DmaBuffer;
  readonly completion: DmaBuffer;
  readonly lists: DmaBuffer;
  /** The rings' words, no more and no less. */
  readonly sqWords: Uint32Array;
  readonly cqWords: Uint32Array;
  private readonly listWords: Uint32Array;
  private readonly own: DmaBuffer[] = [];
  private readonly given: DmaBuffer[] = [];
  private isClosed = false;

  /** @throws ArgumentError where a given buffer won't do, ClosedError, SysError; nothing is left behind */
  constructor({ space, entries, listBytes, pageBytes, given = {} }: MemoryOptions) {
    const alloc = (sizeBytes: number): DmaBuffer => {
      const iovaAlignBytes = pageBytes > PAGE_SIZE ? pageBytes : undefined;
      const buffer = space.alloc(sizeBytes, { alignBytes: pageBytes, iovaAlignBytes });
      this.own.unshift(buffer);
      return buffer;
    };
    const take = (name: string, buffer: DmaBuffer, sizeBytes: number): DmaBuffer => {
      checkRing(name, buffer, space, sizeBytes, pageBytes);
      buffer.lease.hold("an I/O queue");
      this.given.push(buffer);
      return buffer;
    };
    const ring = (name: string, buffer: DmaBuffer | undefined, sizeBytes: number): DmaBuffer =>
      buffer === undefined ? alloc(sizeBytes) : take(name, buffer, sizeBytes);
    try {
      this.submission = ring("memory.submission", given.submission, entries * SQE_BYTES);
      this.completion = ring("memory.completion", given.completion, entries * CQE_BYTES);
      this.lists = ring("memory.lists", given.lists, Math.max(1, listBytes));
      this.sqWords = this.submission.memory.words.subarray(0, entries * SQE_WORDS);
      this.cqWords = this.completion.memory.words.subarray(0, entries * CQE_WORDS);
      this.listWords = this.lists.memory.words;
      this.clear();
    } catch (error) {
      this.close();
      throw error;
    }
    for (const buffer of this.own) buffer.entrust();
  }

  /** As the controller expects them: the phase of an entry that was never written is 0. */
  clear(): void {
    // Word by word: a ring may lie in a BAR.
    for (const words of [this.cqWords, this.sqWords]) {
      for (let i = 0; i < words.length; i++) words[i] = 0;
    }
  }

  /** List memory from an offset on. */
  listAt(offset: number): PrpList {
    const { lists } = this;
    const low = lists.iovaLow + offset;
    return {
      words: this.listWords,
      at: offset / 4,
      iovaLow: low % TWO_32,
      iovaHigh: lists.iovaHigh + Math.floor(low / TWO_32),
    };
  }

  /** Gives all back, after the controller let go of it. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const { lease } of this.given) lease.drop();
    closeAll(this.own, "closing the memory of a queue pair");
  }
}

function checkRing(
  name: string,
  buffer: DmaBuffer,
  space: DmaSpace,
  sizeBytes: number,
  pageBytes: number,
): void {
  buffer.lease.assertOpen();
  if (buffer.space !== space)
    throw new ArgumentError(`${name} is of another DMA space than this controller's`);
  if (!buffer.contiguous) throw new ArgumentError(`${name} lies scattered: a queue has to be contiguous`);
  if (buffer.sizeBytes < sizeBytes) {
    throw new ArgumentError(`${name} has ${buffer.sizeBytes} bytes, and the queue needs ${sizeBytes}`);
  }
  if (buffer.iovaLow % pageBytes !== 0) {
    throw new ArgumentError(`${name} doesn't start at a memory page of ${pageBytes} bytes`);
  }
}
