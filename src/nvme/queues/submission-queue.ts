/** A submission queue as a ring in memory. */
import { publish, weaklyOrdered } from "../../sys/mmio.js";
import { checkRingMemory } from "./ring-check.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";
import { SQE_WORDS } from "./submission-entry.js";

export { SQE_WORDS };

// Local constants: V8 compiles them into the code, and looks up imports and exports at each use.
const SQE_SHIFT = 4;
/** Largest index of an entry. */
const MAX_INDEX = 0xffff;
const mustPublish = weaklyOrdered;

/**
 * A submission queue as a ring in memory: fill the slot, post it, ring the doorbell. The three steps are separate, so that
 * many posts share one doorbell. The caller must keep fewer than `entries` commands outstanding.
 */
export class SubmissionQueue {
  private tail = 0;
  private rung = 0;
  private shadow: ShadowDoorbells | undefined = undefined;
  /** From one entry to the next, in 32-bit words: 16, or 32 on a controller with the quirk `entries-128-bytes`. */
  readonly entryWords: number;

  /** @throws ArgumentError */
  constructor(
    /** Queue identifier. */
    readonly id: number,
    /** Ring size; one less can be outstanding. */
    readonly entries: number,
    /** The ring's memory. */
    readonly words: Uint32Array,
    private doorbells: Uint32Array,
    private readonly doorbell: number,
  ) {
    this.entryWords = this.distance;
    checkRingMemory(id, entries, words, this.entryWords, doorbells, doorbell);
  }

  /** What {@link entryWords} becomes. @internal */
  protected get distance(): number {
    return SQE_WORDS;
  }

  /**
   * Restarts at the first entry, as the controller does after a reset.
   * @param doorbells their new location; by default the old one
   */
  reset(doorbells: Uint32Array = this.doorbells): void {
    this.tail = 0;
    this.rung = 0;
    this.doorbells = doorbells;
  }

  /** The tail: index of the entry to fill next. */
  get position(): number {
    return this.tail;
  }

  /** Continues at the position of another ring over the same memory, which has announced all entries. */
  moveTo(tail: number): void {
    this.tail = tail;
    this.rung = tail;
  }

  /** Index in {@link words} of the entry to fill next. */
  get slot(): number {
    // The mask changes nothing; it tells V8 that the index doesn't overflow.
    return (this.tail & MAX_INDEX) << SQE_SHIFT;
  }

  /** Posts the filled slot. Does not ring the doorbell. */
  post(): void {
    const next = this.tail + 1;
    this.tail = next === this.entries ? 0 : next;
  }

  /** Announces all posted entries to the controller: one MMIO store, or none if none were posted. */
  ring(): void {
    if (this.tail === this.rung) return;
    if (mustPublish) publish();
    if (this.shadow === undefined || this.shadow.ring(this.doorbell, this.rung, this.tail)) {
      this.doorbells[this.doorbell] = this.tail;
    }
    this.rung = this.tail;
  }

  /**
   * Uses a shadow doorbell from now on; undefined: only the register.
   * @internal
   */
  useShadow(shadow: ShadowDoorbells | undefined): void {
    // A doorbell beyond that memory uses its register only.
    this.shadow = shadow?.has(this.doorbell) === true ? shadow : undefined;
    this.shadow?.clear(this.doorbell);
  }
}
