/** A submission queue as a ring in memory. */
import { publish, weaklyOrdered } from "../../sys/mmio.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";
import { SQE_WORDS } from "./submission-entry.js";

export { SQE_WORDS };

// Own constants, which V8 makes part of the code: what is imported or exported it looks up at each use.
const SQE_SHIFT = 4;
/** Of an entry: queues have 65,536 at most. */
const MAX_INDEX = 0xffff;
const mustPublish = weaklyOrdered;

/**
 * A submission queue as a ring in memory: fill the slot, post it, ring the doorbell. The three are separate so that
 * many posts can share one doorbell. Knows nothing of requests: whoever posts keeps fewer than `entries` outstanding.
 */
export class SubmissionQueue {
  private tail = 0;
  private rung = 0;
  private shadow: ShadowDoorbells | undefined = undefined;

  constructor(
    /** Queue identifier. */
    readonly id: number,
    /** Ring size; one less can be outstanding. */
    readonly entries: number,
    /** The ring's memory. */
    readonly words: Uint32Array,
    private doorbells: Uint32Array,
    private readonly doorbell: number,
  ) {}

  /**
   * Begins again at the first entry, as the controller does after a reset.
   * @param doorbells where they are now; where they were by default
   */
  reset(doorbells: Uint32Array = this.doorbells): void {
    this.tail = 0;
    this.rung = 0;
    this.doorbells = doorbells;
  }

  /** The tail: entry to fill next. */
  get position(): number {
    return this.tail;
  }

  /** Goes on where another ring over the same memory stopped, all of its entries announced. */
  moveTo(tail: number): void {
    this.tail = tail;
    this.rung = tail;
  }

  /** Index in {@link words} of the entry to fill next. */
  get slot(): number {
    // The mask changes nothing; it tells V8 that a word's index is far from overflowing.
    return (this.tail & MAX_INDEX) << SQE_SHIFT;
  }

  /** Hands the filled slot over. Does not ring the doorbell. */
  post(): void {
    const next = this.tail + 1;
    this.tail = next === this.entries ? 0 : next;
  }

  /** Tells the controller of all posted entries: one MMIO store, none where there is no news. */
  ring(): void {
    if (this.tail === this.rung) return;
    if (mustPublish) publish();
    if (this.shadow === undefined || this.shadow.ring(this.doorbell, this.rung, this.tail)) {
      this.doorbells[this.doorbell] = this.tail;
    }
    this.rung = this.tail;
  }

  /** From now on rings in memory, and the register only where the controller asks for it; undefined ends that. */
  useShadow(shadow: ShadowDoorbells | undefined): void {
    // A doorbell beyond that memory is rung in its register alone.
    this.shadow = shadow?.has(this.doorbell) === true ? shadow : undefined;
    this.shadow?.clear(this.doorbell);
  }
}
