/**
 * Shadow doorbells (NVMe Base 2.x, Doorbell Buffer Config): doorbells in memory, which an emulated controller reads without a
 * trap. For each, the controller writes an event index: the value from which on it needs the register written, too.
 */

/** A fence: x86 and Arm may reorder a store and a later load. */
const fence = new Int32Array(new SharedArrayBuffer(4));

export class ShadowDoorbells {
  /** @param values doorbells, laid out like the registers; `events`: the event indexes, likewise */
  constructor(
    private readonly values: Uint32Array,
    private readonly events: Uint32Array,
  ) {}

  /** Whether the memory has room for this doorbell. */
  has(index: number): boolean {
    return index < this.values.length;
  }

  /** Resets a queue's doorbell. */
  clear(index: number): void {
    this.values[index] = 0;
    this.events[index] = 0;
  }

  /** Writes a doorbell. @returns whether the register must be written, too */
  ring(index: number, before: number, now: number): boolean {
    this.values[index] = now;
    Atomics.add(fence, 0, 0);
    const event = this.events[index] ?? 0;
    // Whether the step from `before` to `now` passes the event index, modulo 2^16.
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }
}
