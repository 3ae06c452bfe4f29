/**
 * The command identifiers of one submission queue: which of them are in use. A command keeps its identifier from posting
 * to completion, and whatever is kept for it (a PRP list page, a callback) can be found by it.
 */
export class CommandIds {
  private readonly free: Uint16Array;
  private readonly taken: Uint8Array;
  private freeCount: number;

  /** @param count identifiers 0 to count - 1; at most 65535, for 0xffff means something else to a controller */
  constructor(readonly count: number) {
    this.free = Uint16Array.from({ length: count }, (_, i) => count - 1 - i);
    this.taken = new Uint8Array(count);
    this.freeCount = count;
  }

  /** How many are free. */
  get available(): number {
    return this.freeCount;
  }

  /** How many are in use. */
  get outstanding(): number {
    return this.count - this.freeCount;
  }

  /** An identifier of its own for a command; -1 where all are in use. */
  take(): number {
    if (this.freeCount === 0) return -1;
    const cid = this.free[--this.freeCount] ?? 0;
    this.taken[cid] = 1;
    return cid;
  }

  /** Frees one. @returns false where it isn't in use: a controller completed what nobody asked for */
  give(cid: number): boolean {
    if (this.taken[cid] !== 1) return false;
    this.taken[cid] = 0;
    this.free[this.freeCount++] = cid;
    return true;
  }
}
