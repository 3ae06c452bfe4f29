/** So many are kept: what a program maps and unmaps by turns is seldom more at once. */
const MOST = 64;

/**
 * Address ranges of one size that were given back last and are still taken in the allocator: the next mapping of that size
 * gets one without any search. Each is given back to the allocator at most once, so nothing gets slower by it.
 */
export class ParkedRanges {
  private sizeBytes = 0;
  private count = 0;
  /** In IOVA_PAGEs. */
  private readonly pages = new Float64Array(MOST);

  /** Keeps one, where there is room. @param giveBack takes those of another size, and this one where there is no room */
  park(iovaPage: number, sizeBytes: number, giveBack: (iovaPage: number, sizeBytes: number) => void): void {
    if (sizeBytes !== this.sizeBytes) {
      this.drain(giveBack);
      this.sizeBytes = sizeBytes;
    }
    if (this.count === MOST) giveBack(iovaPage, sizeBytes);
    else this.pages[this.count++] = iovaPage;
  }

  /** @returns the one that was parked last, or -1 where there is none of this size */
  take(sizeBytes: number): number {
    if (this.count === 0 || sizeBytes !== this.sizeBytes) return -1;
    return this.pages[--this.count] ?? -1;
  }

  /** All of them: they may be merged, or parts of them handed out. */
  drain(giveBack: (iovaPage: number, sizeBytes: number) => void): void {
    while (this.count > 0) giveBack(this.pages[--this.count] ?? 0, this.sizeBytes);
  }

  /** Forgets them: there is another allocator. */
  clear(): void {
    this.count = 0;
  }
}
