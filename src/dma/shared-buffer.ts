/**
 * Buffers shared with other threads, without copies. The thread that created a buffer owns it, and only that thread closes
 * it. Other threads borrow it, and hold it while they or a device use it.
 */
import { checkInteger, checkObject, checkRange, checkString, checkU64, show } from "../core/check.js";
import { ArgumentError, ClosedError, StateError } from "../core/errors.js";
import type { ForeignHolders } from "../core/lifetime/lease.js";
import { type Iova, iova } from "./iova/address.js";

/** Message to a worker, for {@link BorrowedBuffer.of}: plain data that can be cloned. */
export interface SharedBuffer {
  /** The memory that contains the buffer. */
  readonly memory: SharedArrayBuffer;
  /** Start of the buffer in `memory`. */
  readonly byteOffset: number;
  /** Length of the buffer in bytes. */
  readonly sizeBytes: number;
  /** I/O virtual address of the first byte. */
  readonly iova: bigint;
  /** Name for error messages. */
  readonly label: string;
  /** One 32-bit word: the number of holds, or -1 if the buffer is closed. */
  readonly state: SharedArrayBuffer;
}

const CLOSED = -1;

/** The owner's side of other threads' holds. */
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
 * A buffer that another thread owns. After the owner has closed it, {@link bytes} throws. Old views then read zeros, and
 * don't reach the device.
 */
export class BorrowedBuffer {
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** I/O virtual address of the first byte. */
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

  /** Creates the buffer in the worker. @param shared from `buffer.share()` @throws ArgumentError */
  static of(shared: SharedBuffer): BorrowedBuffer {
    checkShared(shared);
    return new BorrowedBuffer(shared);
  }

  /** Whether the owner has closed the buffer. */
  get closed(): boolean {
    return Atomics.load(this.word, 0) === CLOSED;
  }

  /** The bytes, shared with the device and the owner. @throws ClosedError */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    if (this.closed) throw new ClosedError(this.label);
    return this.allBytes;
  }

  /** Prevents the owner from closing the buffer, until {@link drop} is called as often. @throws ClosedError */
  hold(): void {
    for (;;) {
      const holds = Atomics.load(this.word, 0);
      if (holds === CLOSED) throw new ClosedError(this.label);
      if (Atomics.compareExchange(this.word, 0, holds, holds + 1) === holds) break;
    }
    this.holds++;
  }

  /** Ends one hold. @throws StateError if this thread holds none */
  drop(): void {
    if (this.holds === 0)
      throw new StateError(`${this.label} is not held by this thread: each drop() needs a hold() before it`);
    this.holds--;
    Atomics.sub(this.word, 0, 1);
  }
}

function checkShared(shared: SharedBuffer): void {
  checkObject("shared", shared);
  const { memory, byteOffset, sizeBytes, iova: at, label, state } = shared;
  for (const one of [memory, state]) {
    if (!(one instanceof SharedArrayBuffer))
      throw new ArgumentError(`shared must come from share(): its memory or state is ${show(one)}`);
  }
  checkInteger("bytes of shared.state", state.byteLength, 4, Number.MAX_SAFE_INTEGER);
  checkRange("shared.memory", byteOffset, sizeBytes, memory.byteLength);
  checkU64("shared.iova", at);
  checkString("shared.label", label);
}
