/** A cache of address ranges between a space and its allocator. */
import { IOVA_PAGE, unboxed } from "./address.js";

/** Most ranges kept: programs that map and unmap in turn seldom release more at once. */
const MOST = 64;
/** Most ranges that move between the cache and the allocator at once. */
const BATCH = 32;

/** Frees `count` ranges of `sizeBytes` side by side. */
type GiveBack = (iovaPage: number, sizeBytes: number, count: number) => void;
/** Allocates at most `most` ranges of `sizeBytes` side by side. @returns how many, from 1 on */
type Fetch = (sizeBytes: number, into: Float64Array, most: number) => number;

/**
 * Ranges of one size, which the allocator counts as taken: those that were released last, and some that were fetched ahead.
 * The next mapping of that size takes one without a search. The allocator does much of its work once for each batch.
 */
export class ParkedRanges {
  private sizeBytes = 0;
  private count = 0;
  /** In IOVA_PAGEs. */
  private readonly pages = new Float64Array(MOST);
  /** How many to fetch next. Few at first: a program may alternate between sizes. */
  private ahead = 1;

  /** Keeps a range. @param giveBack frees ranges of another size, and the oldest ones if the cache is full */
  park(iovaPage: number, sizeBytes: number, giveBack: GiveBack): void {
    if (sizeBytes !== this.sizeBytes) {
      this.drain(giveBack);
      this.sizeBytes = sizeBytes;
    }
    if (this.count === MOST) this.spill(BATCH, giveBack);
    this.pages[this.count++] = iovaPage;
  }

  /** Takes the range that was parked last; -1 if there is none of this size. */
  take(sizeBytes: number): number {
    if (this.count === 0 || sizeBytes !== this.sizeBytes) return -1;
    return unboxed(this.pages[--this.count] ?? -1);
  }

  /** {@link take} from ranges that it fetches, when there is none of this size. @throws as `fetch` */
  refill(sizeBytes: number, fetch: Fetch, giveBack: GiveBack): number {
    if (sizeBytes !== this.sizeBytes) this.drain(giveBack);
    this.count = fetch(sizeBytes, this.pages, this.ahead);
    this.sizeBytes = sizeBytes;
    this.ahead = Math.min(2 * this.ahead, BATCH);
    // The lowest goes first.
    this.pages.subarray(0, this.count).reverse();
    return this.take(sizeBytes);
  }

  /** Whether it keeps a range. */
  has(iovaPage: number, sizeBytes: number): boolean {
    return sizeBytes === this.sizeBytes && this.pages.subarray(0, this.count).includes(iovaPage);
  }

  /** Frees all ranges, so that the allocator can join or divide them. */
  drain(giveBack: GiveBack): void {
    if (this.count > 0) this.spill(this.count, giveBack);
    this.ahead = 1;
  }

  /** Forgets all ranges, when the allocator is replaced. */
  clear(): void {
    this.count = 0;
    this.ahead = 1;
  }

  /** Frees the oldest ranges, neighbours at once. */
  private spill(most: number, giveBack: GiveBack): void {
    const { pages, sizeBytes } = this;
    const step = sizeBytes / IOVA_PAGE;
    pages.subarray(0, most).sort();
    for (let from = 0, to = 1; from < most; from = to++) {
      while (to < most && pages[to] === (pages[to - 1] ?? 0) + step) to++;
      giveBack(unboxed(pages[from] ?? 0), sizeBytes, to - from);
    }
    pages.copyWithin(0, most, this.count);
    this.count -= most;
  }
}
