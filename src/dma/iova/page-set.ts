/** An ordered set of page numbers. */
import { NumberTable } from "./number-table.js";

/** Children of a node: one bit each. */
const WIDTH = 32;
/** WIDTH to this power is beyond 2^52, the number of pages in 64 bits. */
const LEVELS = 11;

/**
 * An ordered set of whole numbers below 2^55: bitmaps of 32 bits over bitmaps of 32 bits, only those that aren't empty. The
 * way up and down again has a fixed length, however many there are, and is mostly a step or two.
 */
export class PageSet {
  /** By number of a node on its level: which of its children there are. */
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

  /** Takes out what is there. */
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

  /** The last that is not after `page`; -1 where there is none. */
  floor(page: number): number {
    let index = page;
    // On its own level the bit itself counts; above it stands for what was looked through.
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
