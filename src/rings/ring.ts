/** A ring of descriptors in memory that a device can reach, with the driver's positions in it. */
import type { DmaBuffer } from "../dma/buffer.js";
import type { Iova } from "../dma/iova/address.js";
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
    this.tail = new RingCursor(count);
    this.head = new RingCursor(count);
  }

  /** I/O virtual address of slot 0. */
  get iova(): Iova {
    return this.buffer.iova;
  }

  /** Slots that were filled and not taken back. */
  get used(): number {
    return (this.tail.passed - this.head.passed) >>> 0;
  }

  /** Slots that can be filled. */
  get free(): number {
    return this.count - 1 - this.used;
  }

  /** Takes the next free slot, to be filled. @returns its number, or -1 if none is free */
  push(): number {
    return this.free === 0 ? -1 : this.tail.advance();
  }

  /** The slot that was filled first, and stays in the ring. @returns its number, or -1 if the ring is empty */
  peek(): number {
    return this.used === 0 ? -1 : this.head.slot;
  }

  /** Takes back the slot that was filled first. @returns its number, or -1 if the ring is empty */
  pop(): number {
    return this.used === 0 ? -1 : this.head.advance();
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
