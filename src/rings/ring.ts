/** A ring of descriptors in memory that a device can reach, with the driver's positions in it. */
import { checkFunction } from "../core/check.js";
import { StateError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import type { DmaBuffer } from "../dma/buffer.js";
import type { Iova } from "../dma/iova/address.js";
import { type WaitOptions, waitFor } from "../registers/wait.js";
import { RingCursor } from "./cursor.js";
import type { DescriptorSpec, SlotsOf } from "./types.js";

/**
 * A ring of descriptors. The driver fills slots at the tail (`push`), the device works on them, and the driver takes them back at the
 * head (`pop`) when the device has set a bit in them, or has told so in a register. One slot stays free, because to most devices equal
 * positions mean an empty ring.
 */
export class DescriptorRing<D extends DescriptorSpec> implements Disposable {
  /** What the driver fills next. */
  readonly tail: RingCursor;
  /** What the driver takes back next. */
  readonly head: RingCursor;

  /** @internal */
  constructor(
    /** The words of its descriptors. */
    readonly slots: SlotsOf<D>,
    /** Its memory. */
    readonly buffer: DmaBuffer,
    /** How many slots it has. */
    readonly count: number,
  ) {
    const tail = new RingCursor(count);
    const head = new RingCursor(count);
    this.tail = tail;
    this.head = head;
    // Whoever closes the memory: the ring, or the space that it is mapped in. push() and pop() look at positions only.
    const end = (): void => {
      tail.end();
      head.end();
    };
    new Lease("positions of a ring", end, buffer.lease);
  }

  /** I/O virtual address of slot 0. */
  get iova(): Iova {
    return this.buffer.iova;
  }

  /** Slots that were filled and not taken back; 0 once the ring is closed. */
  get used(): number {
    return (this.tail.passed - this.head.passed) >>> 0;
  }

  /** Slots that can be filled; 0 once the ring is closed. */
  get free(): number {
    return this.tail.count - 1 - this.used;
  }

  /** Takes the next free slot, to be filled. @returns its number, or -1 if none is free @throws ClosedError */
  push(): number {
    return this.free === 0 ? this.none() : this.tail.advance();
  }

  /** The slot that was filled first, and stays in the ring. @returns its number, or -1 if the ring is empty @throws ClosedError */
  peek(): number {
    return this.used === 0 ? this.none() : this.head.slot;
  }

  /** Takes back the slot that was filled first. @returns its number, or -1 if the ring is empty @throws ClosedError */
  pop(): number {
    return this.used === 0 ? this.none() : this.head.advance();
  }

  /** @throws ClosedError */
  private none(): number {
    this.buffer.lease.assertOpen();
    return -1;
  }

  /**
   * Waits until the device is done with the slot that was filled first.
   * @param isDone reads the slot's words, such as `(slot) => done.of(slots.status.read(slot))`
   * @param options as those of a register's `until()`. Give it `signal: device.signal`: memory doesn't tell that its device has gone
   * @returns the slot. It stays in the ring until {@link pop}
   * @throws as a rejection: StateError if the ring is empty, ArgumentError, TimeoutError, the signal's reason, ClosedError if the
   *   ring is closed meanwhile, and what `isDone` throws
   */
  async until(isDone: (slot: number) => boolean, options: WaitOptions): Promise<number> {
    checkFunction("isDone", isDone);
    const { label } = this.buffer.lease;
    this.buffer.lease.assertOpen();
    if (this.used === 0) throw new StateError(`the ring in ${label} is empty: there is no slot to wait for`);
    return await waitFor(
      {
        read: () => {
          this.buffer.lease.assertOpen();
          return this.peek();
        },
        isMet: (slot) => slot >= 0 && isDone(slot),
        deviceSignal: () => undefined,
        isGone: () => false,
        describe: (slot) => `slot ${slot} of the ring in ${label} isn't done`,
      },
      options,
    );
  }

  /** Empties it, as after a reset of the device: positions go to slot 0, and the memory reads as zeros. @throws ClosedError */
  reset(): void {
    this.buffer.bytes.fill(0);
    this.tail.reset();
    this.head.reset();
  }

  /** Frees the memory. The device must have stopped. @throws as {@link DmaBuffer.close} */
  close(): void {
    this.buffer.close();
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
