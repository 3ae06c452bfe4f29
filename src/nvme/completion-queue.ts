import { acquire } from "../sys/mmio.js";

/** 32-bit words per completion queue entry (16 bytes). */
export const CQE_WORDS = 4;
/** Word of an entry that holds command id, phase and status. */
const STATUS_WORD = 3;

/** A completion queue as a ring in memory: look, take, and tell the controller once for many. */
export class CompletionQueue {
  private head = 0;
  private phase = 1;
  private rung = 0;

  constructor(
    readonly id: number,
    readonly entries: number,
    /** The ring's memory, zeroed: the first pass of the controller writes phase 1. */
    readonly words: Uint32Array,
    private readonly doorbells: Uint32Array,
    private readonly doorbell: number,
  ) {}

  /** Index in {@link words} of the next completion, or -1 where the controller has written none. */
  peek(): number {
    const at = this.head * CQE_WORDS;
    const status = this.words[at + STATUS_WORD] ?? 0;
    if (((status >>> 16) & 1) !== this.phase) return -1;
    acquire();
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

  /** Gives all taken entries back to the controller: one MMIO store, none where there is no news. */
  ring(): void {
    if (this.head === this.rung) return;
    this.doorbells[this.doorbell] = this.head;
    this.rung = this.head;
  }
}
