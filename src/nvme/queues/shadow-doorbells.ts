/**
 * Shadow doorbells (NVMe Base 2.x, Doorbell Buffer Config): doorbells as words in memory, which an emulated controller reads
 * without a trap. Beside each the controller writes from which value on it wants the real one rung as well.
 */

/** Orders our store before our load, as no x86 or Arm does by itself. */
const fence = new Int32Array(new SharedArrayBuffer(4));

export class ShadowDoorbells {
  /** @param values doorbells, laid out as the registers are; `events` the controller's wishes, in the same way */
  constructor(
    private readonly values: Uint32Array,
    private readonly events: Uint32Array,
  ) {}

  /** Whether the memory has room for this doorbell. */
  has(index: number): boolean {
    return index < this.values.length;
  }

  /** A queue begins anew. */
  clear(index: number): void {
    this.values[index] = 0;
    this.events[index] = 0;
  }

  /** Writes a doorbell. @returns whether the register has to be written, too */
  ring(index: number, before: number, now: number): boolean {
    this.values[index] = now;
    Atomics.add(fence, 0, 0);
    const event = this.events[index] ?? 0;
    // Whether the step from `before` to `now` passes what the controller waits for, around the end of 16 bits.
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }
}
