/** A completion queue as a ring in memory. */

import { acquire, weaklyOrdered } from "../../sys/mmio.js";
import { CQE_WORDS } from "../spec/queue-entries.js";
import { checkRingMemory } from "./ring-check.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";

export { CQE_WORDS };

// Local constants: V8 compiles them into the code, and looks up imports and exports at each use.
const CQE_SHIFT = 2;
/** Largest index of an entry. Masks with it change nothing; they tell V8 that no index overflows. */
const MAX_INDEX = 0xffff;
const mustAcquire = weaklyOrdered;
/** Word of an entry that holds command id, phase and status. */
const STATUS_WORD = 3;

/**
 * A completion queue as a ring in memory. {@link peek} and {@link take} process one entry, {@link reap} many at once; then
 * {@link ring} returns the entries to the controller. Several submission queues may share a completion queue: each entry
 * contains the id of its submission queue.
 */
export class CompletionQueue {
  /** Results of the last reap(), oldest first: command ids, ... */
  readonly cids: Uint16Array;
  /** ... submission queue ids, ... */
  readonly sqids: Uint16Array;
  /** ... heads of these submission queues, ... */
  readonly sqHeads: Uint16Array;
  /** ... status fields without the phase (0 is success), ... */
  readonly statuses: Uint16Array;
  /** ... and dword 0, command specific. */
  readonly results: Uint32Array;
  /** Dword 1, command specific. */
  readonly results1: Uint32Array;
  private head = 0;
  private phase = 1;
  private rung = 0;
  private shadow: ShadowDoorbells | undefined = undefined;

  /** @throws ArgumentError */
  constructor(
    /** Queue identifier. */
    readonly id: number,
    /** Number of entries of the ring. */
    readonly entries: number,
    /** The ring's memory, zeroed: the controller's first pass writes phase 1. */
    readonly words: Uint32Array,
    private doorbells: Uint32Array,
    private readonly doorbell: number,
  ) {
    checkRingMemory(id, entries, words, CQE_WORDS, doorbells, doorbell);
    this.cids = new Uint16Array(entries);
    this.sqids = new Uint16Array(entries);
    this.sqHeads = new Uint16Array(entries);
    this.statuses = new Uint16Array(entries);
    this.results = new Uint32Array(entries);
    this.results1 = new Uint32Array(entries);
  }

  /**
   * Restarts at the first entry, as the controller does after a reset. The memory must be zeroed.
   * @param doorbells their new location; by default the old one
   */
  reset(doorbells: Uint32Array = this.doorbells): void {
    this.head = 0;
    this.phase = 1;
    this.rung = 0;
    this.doorbells = doorbells;
  }

  /** Position in the ring. */
  get position(): {
    /** Index of the entry to take next. */
    readonly head: number;
    /** Phase bit of a new entry there: 0 or 1. */
    readonly phase: number;
  } {
    return { head: this.head, phase: this.phase };
  }

  /** Continues at the position of another ring over the same memory, which has rung for all it took. */
  moveTo(head: number, phase: number): void {
    this.head = head;
    this.phase = phase;
    this.rung = head;
  }

  /** Index in {@link words} of the next completion, or -1 if there is none. */
  peek(): number {
    const at = (this.head & MAX_INDEX) << CQE_SHIFT;
    const status = this.words[at + STATUS_WORD] ?? 0;
    if (((status >>> 16) & 1) !== this.phase) return -1;
    if (mustAcquire) acquire();
    return at;
  }

  /** Takes the entry that {@link peek} found. Does not ring the doorbell. */
  take(): void {
    const next = this.head + 1;
    if (next === this.entries) {
      this.head = 0;
      this.phase ^= 1;
    } else this.head = next;
  }

  /**
   * Takes at most `max` new entries into {@link cids} and the other arrays. Allocates nothing, and does not ring the
   * doorbell.
   * @returns their number
   */
  reap(max: number): number {
    // Most polls find nothing: this is the shortest way to return.
    if ((((this.words[((this.head & MAX_INDEX) << CQE_SHIFT) + STATUS_WORD] ?? 0) >>> 16) & 1) !== this.phase)
      return 0;
    // Locals: V8 would load and store a field at each use.
    const { words, entries, cids, sqids, sqHeads, statuses, results, results1 } = this;
    let { head, phase } = this;
    const limit = max < entries ? max : entries;
    let count = 0;
    while (count < limit) {
      const at = (head & MAX_INDEX) << CQE_SHIFT;
      const dw3 = words[at + STATUS_WORD] ?? 0;
      if (((dw3 >>> 16) & 1) !== phase) break;
      if (mustAcquire) acquire();
      const dw2 = words[at + 2] ?? 0;
      cids[count] = dw3;
      statuses[count] = dw3 >>> 17;
      sqHeads[count] = dw2;
      sqids[count] = dw2 >>> 16;
      results[count] = words[at] ?? 0;
      results1[count] = words[at + 1] ?? 0;
      count++;
      if (++head === entries) {
        head = 0;
        phase ^= 1;
      }
    }
    this.head = head;
    this.phase = phase;
    return count;
  }

  /** Returns all taken entries to the controller: one MMIO store, or none if none were taken. */
  ring(): void {
    if (this.head === this.rung) return;
    if (this.shadow === undefined || this.shadow.ring(this.doorbell, this.rung, this.head)) {
      this.doorbells[this.doorbell] = this.head;
    }
    this.rung = this.head;
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
