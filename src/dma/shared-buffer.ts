/**
 * A buffer in other threads: the same memory, no copy. Its owner is the thread that made it, and that alone closes it; the
 * others borrow it, and hold it while a device or they themselves are at work on it.
 */
import { BusyError, ClosedError } from "../core/errors.js";
import type { ForeignHolders } from "../core/lifetime/lease.js";
import { type Iova, iova } from "./iova/address.js";

/** What is posted to a worker; see {@link BorrowedBuffer.of}. Plain data, and cloned as such. */
export interface SharedBuffer {
  /** The memory that the buffer lies in. */
  readonly memory: SharedArrayBuffer;
  /** Where in `memory` the buffer starts. */
  readonly byteOffset: number;
  /** Length of the buffer in bytes. */
  readonly sizeBytes: number;
  /** Where devices find the first byte. */
  readonly iova: bigint;
  /** Name for error messages. */
  readonly label: string;
  /** One 32-bit word: how many holds there are, or CLOSED. */
  readonly state: SharedArrayBuffer;
}

const CLOSED = -1;

/** The owner's side of the holds that other threads have. */
export class ThreadHolds implements ForeignHolders {
  readonly state = new SharedArrayBuffer(4);
  private readonly word = new Int32Array(this.state);

  count(): number {
    return Math.max(0, Atomics.load(this.word, 0));
  }

  lock(): number {
    const before = Atomics.compareExchange(this.word, 0, 0, CLOSED);
    return before === CLOSED ? 0 : before;
  }

  unlock(): void {
    Atomics.compareExchange(this.word, 0, CLOSED, 0);
  }

  /** Marks the buffer as closed, even if another thread holds it. */
  end(): void {
    Atomics.store(this.word, 0, CLOSED);
  }
}

/**
 * A buffer that belongs to another thread. After its owner closed it, {@link bytes} throws, and a view taken before reads
 * zeros and reaches nothing.
 */
export class BorrowedBuffer {
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** Where devices find the first byte. */
  readonly iova: Iova;
  /** Low 32 bits of {@link iova}. */
  readonly iovaLow: number;
  /** High 32 bits of {@link iova}. */
  readonly iovaHigh: number;
  private readonly label: string;
  private readonly word: Int32Array;
  private readonly allBytes: Uint8Array<SharedArrayBuffer>;
  private holds = 0;

  private constructor(shared: SharedBuffer) {
    this.sizeBytes = shared.sizeBytes;
    this.iova = iova(shared.iova);
    this.iovaLow = Number(shared.iova & 0xffff_ffffn);
    this.iovaHigh = Number(shared.iova >> 32n);
    this.label = shared.label;
    this.word = new Int32Array(shared.state);
    this.allBytes = new Uint8Array(shared.memory, shared.byteOffset, shared.sizeBytes);
  }

  /** In the worker: what `buffer.share()` made and a message brought. */
  static of(shared: SharedBuffer): BorrowedBuffer {
    return new BorrowedBuffer(shared);
  }

  /** Whether its owner closed it. */
  get closed(): boolean {
    return Atomics.load(this.word, 0) === CLOSED;
  }

  /** The bytes, shared with the device and with the owner. @throws ClosedError */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    if (this.closed) throw new ClosedError(this.label);
    return this.allBytes;
  }

  /** Keeps its owner from closing it until {@link drop} was called as often. @throws ClosedError */
  hold(): void {
    for (;;) {
      const holds = Atomics.load(this.word, 0);
      if (holds === CLOSED) throw new ClosedError(this.label);
      if (Atomics.compareExchange(this.word, 0, holds, holds + 1) === holds) break;
    }
    this.holds++;
  }

  /** @throws BusyError if this thread no longer holds it */
  drop(): void {
    if (this.holds === 0) throw new BusyError(`${this.label} is not held by this thread`);
    this.holds--;
    Atomics.sub(this.word, 0, 1);
  }
}
