/** The command identifiers of one submission queue. */
import { checkInteger } from "../../core/check.js";

const MOST_IDS = 65_535;

/**
 * Identifiers free and in use. A command keeps its identifier from posting to completion, so it can be the index of the
 * command's data (a PRP list page, a callback).
 */
export class CommandIds {
  private readonly free: Uint16Array;
  private readonly taken: Uint8Array;
  private freeCount: number;

  /** @param count identifiers 0 to count - 1; at most 65535, because 0xffff has another meaning @throws ArgumentError */
  constructor(readonly count: number) {
    checkInteger("count", count, 1, MOST_IDS);
    this.free = Uint16Array.from({ length: count }, (_, i) => count - 1 - i);
    this.taken = new Uint8Array(count);
    this.freeCount = count;
  }

  /** Number of free identifiers. */
  get available(): number {
    return this.freeCount;
  }

  /** Number of identifiers in use. */
  get outstanding(): number {
    return this.count - this.freeCount;
  }

  /** Takes a free identifier; -1 if all are in use. */
  take(): number {
    if (this.freeCount === 0) return -1;
    const cid = this.free[--this.freeCount] ?? 0;
    this.taken[cid] = 1;
    return cid;
  }

  /** Frees an identifier, and doesn't check its type. @returns false if it isn't in use, e.g. after an unexpected completion */
  give(cid: number): boolean {
    if (this.taken[cid] !== 1) return false;
    this.taken[cid] = 0;
    this.free[this.freeCount++] = cid;
    return true;
  }
}
