/** A position in a ring that only moves forward. */
import { checkInteger } from "../core/check.js";

const MAX_COUNT = 2 ** 24;

/**
 * A position in a ring that only moves forward: what the driver fills next, or what it looks at next. It counts in every way that
 * devices do: the slot, a phase bit that turns with each lap, and a running count.
 */
export class RingCursor {
  private current = 0;
  private lap = 1;
  private total = 0;
  private slots: number;

  /** @param count slots of the ring @throws ArgumentError */
  constructor(count: number) {
    this.slots = checkInteger("count of slots", count, 1, MAX_COUNT);
  }

  /** Slots of the ring; 1 when its memory has gone. */
  get count(): number {
    return this.slots;
  }

  /** The slot it is at. */
  get slot(): number {
    return this.current;
  }

  /** 1 in the first lap, 0 in the second, and so on. */
  get phase(): number {
    return this.lap;
  }

  /** Slots passed since the start, modulo 2^32. Its low 16 bits are the index of virtio's available and used rings. */
  get passed(): number {
    return this.total;
  }

  /** Moves to the next slot. @returns the slot it was at */
  advance(): number {
    const slot = this.current;
    this.total = (this.total + 1) >>> 0;
    if (slot + 1 === this.slots) {
      this.current = 0;
      this.lap ^= 1;
    } else this.current = slot + 1;
    return slot;
  }

  /** Moves past several slots. @throws ArgumentError if there are more than the ring has */
  skip(slots: number): void {
    checkInteger("slots to skip", slots, 0, this.slots);
    this.total = (this.total + slots) >>> 0;
    this.current += slots;
    if (this.current >= this.slots) {
      this.current -= this.slots;
      this.lap ^= 1;
    }
  }

  /** Back to the start, as after a reset of the device. */
  reset(): void {
    this.current = 0;
    this.lap = 1;
    this.total = 0;
  }

  /**
   * The memory has gone. A ring with such positions is both full and empty, so that it looks why.
   * @internal
   */
  end(): void {
    this.reset();
    this.slots = 1;
  }
}
