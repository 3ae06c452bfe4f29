/** A cache of recently released address ranges. */

/** Most ranges kept: programs that map and unmap in turn seldom release more at once. */
const MOST = 64;

/**
 * Ranges of one size that were released last. The allocator still counts them as taken; the next mapping of that size reuses
 * one without a search.
 */
export class ParkedRanges {
  private sizeBytes = 0;
  private count = 0;
  /** In IOVA_PAGEs. */
  private readonly pages = new Float64Array(MOST);

  /** Keeps a range. @param giveBack frees ranges of another size, and this range if the cache is full */
  park(iovaPage: number, sizeBytes: number, giveBack: (iovaPage: number, sizeBytes: number) => void): void {
    if (sizeBytes !== this.sizeBytes) {
      this.drain(giveBack);
      this.sizeBytes = sizeBytes;
    }
    if (this.count === MOST) giveBack(iovaPage, sizeBytes);
    else this.pages[this.count++] = iovaPage;
  }

  /** Takes the range that was parked last; -1 if there is none of this size. */
  take(sizeBytes: number): number {
    if (this.count === 0 || sizeBytes !== this.sizeBytes) return -1;
    return this.pages[--this.count] ?? -1;
  }

  /** Frees all ranges, so that the allocator can join or divide them. */
  drain(giveBack: (iovaPage: number, sizeBytes: number) => void): void {
    while (this.count > 0) giveBack(this.pages[--this.count] ?? 0, this.sizeBytes);
  }

  /** Forgets all ranges, when the allocator is replaced. */
  clear(): void {
    this.count = 0;
  }
}
