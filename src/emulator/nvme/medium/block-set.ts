/** A sparse set of block numbers. */
const BITS = 32;

/** A set of block numbers. It takes memory only for its members, and finding it empty costs one comparison. */
export class BlockSet {
  /** Words of bits, by block number / 32; only those that have any set. */
  private readonly words = new Map<number, number>();
  /** Number of members. */
  size = 0;

  add(first: number, blocks: number): void {
    for (let block = first; block < first + blocks; block++) {
      if (this.has(block)) continue;
      const index = Math.floor(block / BITS);
      this.words.set(index, (this.words.get(index) ?? 0) | (1 << (block % BITS)));
      this.size++;
    }
  }

  /** 32 blocks to an entry: their number / 32, and a bit for each. */
  save(): [number, number][] {
    return [...this.words].map(([index, bits]) => [index, bits >>> 0]);
  }

  load(saved: readonly (readonly [number, number])[]): void {
    this.words.clear();
    this.size = 0;
    for (const [index, bits] of saved) {
      if (bits === 0 || this.words.has(index)) continue;
      this.words.set(index, bits | 0);
      for (let left = bits; left !== 0; left &= left - 1) this.size++;
    }
  }

  delete(first: number, blocks: number): void {
    if (blocks > this.words.size * BITS) {
      // For a whole namespace: visits the members, not all blocks.
      for (const index of [...this.words.keys()]) {
        const start = Math.max(first, index * BITS);
        const end = Math.min(first + blocks, (index + 1) * BITS);
        if (start < end) this.deleteEach(start, end);
      }
    } else this.deleteEach(first, first + blocks);
  }

  /** The lowest member, or undefined. */
  first(): number | undefined {
    if (this.size === 0) return undefined;
    let lowest = Number.POSITIVE_INFINITY;
    for (const index of this.words.keys()) lowest = Math.min(lowest, index);
    const bits = this.words.get(lowest) ?? 0;
    return lowest * BITS + 31 - Math.clz32(bits & -bits);
  }

  /** Ranges of members in [first, first + blocks), ascending: first block and length. @param most so many at most */
  ranges(first: number, blocks: number, most: number): [number, number][] {
    const end = first + blocks;
    const found: [number, number][] = [];
    let open: [number, number] | undefined;
    for (const index of [...this.words.keys()].sort((a, b) => a - b)) {
      const start = Math.max(first, index * BITS);
      for (let block = start; block < Math.min(end, (index + 1) * BITS); block++) {
        if (!this.has(block)) continue;
        if (open !== undefined && open[0] + open[1] === block) open[1]++;
        else if (found.length === most) return found;
        else {
          open = [block, 1];
          found.push(open);
        }
      }
    }
    return found;
  }

  /** Whether any of these blocks is a member. */
  hasAny(first: number, blocks: number): boolean {
    if (this.size === 0) return false;
    for (let block = first; block < first + blocks; block++) if (this.has(block)) return true;
    return false;
  }

  private deleteEach(first: number, end: number): void {
    for (let block = first; block < end; block++) {
      if (!this.has(block)) continue;
      const index = Math.floor(block / BITS);
      const left = (this.words.get(index) ?? 0) & ~(1 << (block % BITS));
      if (left === 0) this.words.delete(index);
      else this.words.set(index, left);
      this.size--;
    }
  }

  private has(block: number): boolean {
    return ((this.words.get(Math.floor(block / BITS)) ?? 0) & (1 << (block % BITS))) !== 0;
  }
}
