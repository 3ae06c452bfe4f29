/** An ordered set of page numbers. */
import { NumberTable } from "./number-table.js";

/** Children of a node; each has one bit. */
const WIDTH = 32;
/** WIDTH to this power exceeds 2^52, the number of pages in 64 bits. */
const LEVELS = 11;

/**
 * An ordered set of whole numbers below 2^55: a tree of 32-bit bitmaps that stores only nodes with members. A search visits
 * each of its 11 levels at most twice, and usually takes a step or two.
 */
export class PageSet {
  /** For each level: bitmap of a node's children, by the node's number. */
  private readonly levels = Array.from({ length: LEVELS }, () => new NumberTable());

  add(page: number): void {
    let index = page;
    for (const level of this.levels) {
      const bit = index % WIDTH;
      index = (index - bit) / WIDTH;
      const bits = level.get(index);
      level.set(index, (bits | (1 << bit)) >>> 0);
      if (bits !== 0) return;
    }
  }

  /** Removes a member. */
  delete(page: number): void {
    let index = page;
    for (const level of this.levels) {
      const bit = index % WIDTH;
      index = (index - bit) / WIDTH;
      const bits = (level.get(index) & ~(1 << bit)) >>> 0;
      if (bits !== 0) {
        level.set(index, bits);
        return;
      }
      level.delete(index);
    }
  }

  /** The largest member up to and including `page`; -1 if there is none. */
  floor(page: number): number {
    let index = page;
    // The lowest level includes the bit itself. On higher levels that bit's subtree has been searched already.
    let own = 1;
    for (const [height, level] of this.levels.entries()) {
      const bit = index % WIDTH;
      index = (index - bit) / WIDTH;
      const bits = level.get(index) & (((1 + own) << bit) - 1);
      if (bits !== 0) return this.lastBelow(height, index * WIDTH + 31 - Math.clz32(bits));
      own = 0;
    }
    return -1;
  }

  private lastBelow(height: number, node: number): number {
    let index = node;
    for (let i = height - 1; i >= 0; i--) {
      const bits = this.levels[i]?.get(index) ?? 0;
      index = index * WIDTH + 31 - Math.clz32(bits);
    }
    return index;
  }
}
