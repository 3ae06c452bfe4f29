/** A completion queue as a ring in memory. */
import { acquire, weaklyOrdered } from "../../sys/mmio.js";
import { CQE_WORDS } from "../spec/queue-entries.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";

export { CQE_WORDS };

// Own constants, which V8 makes part of the code: what is imported or exported it looks up at each use.
const CQE_SHIFT = 2;
/** Of an entry: queues have 65,536 at most. Masks with it change nothing; they tell V8 that no index overflows. */
const MAX_INDEX = 0xffff;
const mustAcquire = weaklyOrdered;
/** Word of an entry that holds command id, phase and status. */
const STATUS_WORD = 3;

/**
 * A completion queue as a ring in memory. Two ways to use it: {@link peek} and {@link take} one entry after the other,
 * or {@link reap} many at once. Either way {@link ring} tells the controller, once for many. Several submission queues
 * may report to one completion queue: each entry says which it is of.
 */
export class CompletionQueue {
  /** What the last reap() found, oldest first: command ids, ... */
  readonly cids: Uint16Array;
  /** ... submission queue ids, ... */
  readonly sqids: Uint16Array;
  /** ... where the controller is in that submission queue, ... */
  readonly sqHeads: Uint16Array;
  /** ... status fields without the phase (0 is success), ... */
  readonly statuses: Uint16Array;
  /** ... and dwords 0 and 1, whose meaning is the command's. */
  readonly results: Uint32Array;
  /** Dword 1 of each completion. */
  readonly results1: Uint32Array;
  private head = 0;
  private phase = 1;
  private rung = 0;
  private shadow: ShadowDoorbells | undefined = undefined;

  constructor(
    /** Queue identifier. */
    readonly id: number,
    /** Number of entries of the ring. */
    readonly entries: number,
    /** The ring's memory, zeroed: the first pass of the controller writes phase 1. */
    readonly words: Uint32Array,
    private doorbells: Uint32Array,
    private readonly doorbell: number,
  ) {
    this.cids = new Uint16Array(entries);
    this.sqids = new Uint16Array(entries);
    this.sqHeads = new Uint16Array(entries);
    this.statuses = new Uint16Array(entries);
    this.results = new Uint32Array(entries);
    this.results1 = new Uint32Array(entries);
  }

  /**
   * Begins again at the first entry, as the controller does after a reset. The memory has to be zeroed.
   * @param doorbells where they are now; where they were by default
   */
  reset(doorbells: Uint32Array = this.doorbells): void {
    this.head = 0;
    this.phase = 1;
    this.rung = 0;
    this.doorbells = doorbells;
  }

  /** Where the queue stands. */
  get position(): {
    /** Index of the entry to take next. */
    readonly head: number;
    /** Phase bit of a new entry there: 0 or 1. */
    readonly phase: number;
  } {
    return { head: this.head, phase: this.phase };
  }

  /** Goes on where another ring over the same memory stopped, all that it took given back. */
  moveTo(head: number, phase: number): void {
    this.head = head;
    this.phase = phase;
    this.rung = head;
  }

  /** Index in {@link words} of the next completion, or -1 where the controller has written none. */
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
   * Takes what the controller has written, `max` entries at most, into {@link cids} and its likes. Allocates nothing, and
   * does not ring the doorbell.
   * @returns how many
   */
  reap(max: number): number {
    // When a queue is polled, most looks find nothing: this is the shortest way to return.
    if ((((this.words[((this.head & MAX_INDEX) << CQE_SHIFT) + STATUS_WORD] ?? 0) >>> 16) & 1) !== this.phase)
      return 0;
    // Locals: V8 would load and store a field for each use, as anything could have changed it.
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

  /** Gives all taken entries back to the controller: one MMIO store, none where there is no news. */
  ring(): void {
    if (this.head === this.rung) return;
    if (this.shadow === undefined || this.shadow.ring(this.doorbell, this.rung, this.head)) {
      this.doorbells[this.doorbell] = this.head;
    }
    this.rung = this.head;
  }

  /** From now on rings in memory, and the register only where the controller asks for it; undefined ends that. */
  useShadow(shadow: ShadowDoorbells | undefined): void {
    // A doorbell beyond that memory is rung in its register alone.
    this.shadow = shadow?.has(this.doorbell) === true ? shadow : undefined;
    this.shadow?.clear(this.doorbell);
  }
}
