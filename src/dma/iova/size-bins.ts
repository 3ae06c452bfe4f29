/** Free ranges in bins by size. */

/** Each size below this has a bin of its own. */
const EXACT = 256;
const EXACT_BITS = 8;
/** Larger sizes have 2^SPLIT_BITS bins per power of two: sizes in a bin differ by less than a sixteenth. */
const SPLIT_BITS = 4;
const SPLIT = 2 ** SPLIT_BITS;
/** Sizes are below 2^53. */
const BINS = EXACT + (53 - EXACT_BITS) * SPLIT;
const WORD_BITS = 32;

/** 2^-n, because `**` costs much more than a multiplication. */
const INVERSE_POWERS = Float64Array.from({ length: 64 }, (_, n) => 2 ** -n);

/** Bin number of a size. It never decreases as the size grows. */
export function binOf(size: number): number {
  if (size < EXACT) return size;
  if (size < 0x8000_0000) {
    const power = 31 - Math.clz32(size);
    return EXACT + (power - EXACT_BITS) * SPLIT + (size >>> (power - SPLIT_BITS)) - SPLIT;
  }
  const power = 61 - Math.clz32(Math.floor(size / 0x4000_0000));
  const top = Math.floor(size * (INVERSE_POWERS[power - SPLIT_BITS] ?? 0));
  return EXACT + (power - EXACT_BITS) * SPLIT + top - SPLIT;
}

/** Starts of free ranges: a stack for each bin, and a bitmap of the stacks that aren't empty. */
export class SizeBins {
  private readonly stacks: (number[] | undefined)[] = new Array<undefined>(BINS).fill(undefined);
  private readonly filled = new Uint32Array(Math.ceil(BINS / WORD_BITS));
  /** Bitmap of the words of `filled` that aren't 0; there are 31 words. */
  private words = 0;

  /** Adds a range. @returns its slot */
  push(bin: number, start: number): number {
    let stack = this.stacks[bin];
    if (stack === undefined) {
      stack = [];
      this.stacks[bin] = stack;
    }
    if (stack.length === 0) {
      const word = bin >>> 5;
      this.filled[word] = (this.filled[word] ?? 0) | (1 << (bin & 31));
      this.words |= 1 << word;
    }
    return stack.push(start) - 1;
  }

  /** Empties a slot. @returns the range that moved from the stack's end into it; -1 if none did */
  remove(bin: number, slot: number): number {
    const stack = this.stacks[bin];
    const last = stack?.pop();
    if (stack === undefined || last === undefined) return -1;
    if (stack.length === 0) {
      const word = bin >>> 5;
      const bits = (this.filled[word] ?? 0) & ~(1 << (bin & 31));
      this.filled[word] = bits;
      if (bits === 0) this.words &= ~(1 << word);
    }
    if (slot >= stack.length) return -1;
    stack[slot] = last;
    return last;
  }

  /** The ranges of a bin; read-only. */
  stack(bin: number): readonly number[] {
    return this.stacks[bin] ?? [];
  }

  /** The first bin from this one on that isn't empty; -1 if there is none. */
  next(bin: number): number {
    const { filled } = this;
    let word = bin >>> 5;
    let bits = (filled[word] ?? 0) & (-1 << (bin & 31));
    if (bits === 0) {
      // Two shifts, because JavaScript shifts by 32 like by 0.
      const later = this.words & ((-1 << word) << 1);
      if (later === 0) return -1;
      word = 31 - Math.clz32(later & -later);
      bits = filled[word] ?? 0;
    }
    return word * WORD_BITS + 31 - Math.clz32(bits & -bits);
  }
}
