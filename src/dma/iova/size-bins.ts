/** Sizes below this have a bin each. */
const EXACT = 256;
const EXACT_BITS = 8;
/** Larger ones share: so many bins per power of two, so that sizes in a bin differ by less than a sixteenth. */
const SPLIT_BITS = 4;
const SPLIT = 2 ** SPLIT_BITS;
/** Sizes are below 2^53. */
const BINS = EXACT + (53 - EXACT_BITS) * SPLIT;
const WORD_BITS = 32;

/** 2^-n: a power costs many times a multiplication. */
const INVERSE_POWERS = Float64Array.from({ length: 64 }, (_, n) => 2 ** -n);

/** Which bin holds ranges of a size. Larger sizes never have a smaller bin. */
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

/** Where free ranges of a size start: a stack per size, and a bitmap of the stacks that aren't empty. */
export class SizeBins {
  private readonly stacks: (number[] | undefined)[] = new Array<undefined>(BINS).fill(undefined);
  private readonly filled = new Uint32Array(Math.ceil(BINS / WORD_BITS));
  /** Which words of that aren't 0: there are 31. */
  private words = 0;

  /** @returns the slot it stands in */
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

  /** Takes out what stands in a slot. @returns what stands there now instead, moved from the end; -1 where nothing does */
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

  /** What a bin holds; not to be changed. */
  stack(bin: number): readonly number[] {
    return this.stacks[bin] ?? [];
  }

  /** The first bin from this one on that isn't empty; -1 where there is none. */
  next(bin: number): number {
    const { filled } = this;
    let word = bin >>> 5;
    let bits = (filled[word] ?? 0) & (-1 << (bin & 31));
    if (bits === 0) {
      // Shifted twice: by 32 at once is not at all.
      const later = this.words & ((-1 << word) << 1);
      if (later === 0) return -1;
      word = 31 - Math.clz32(later & -later);
      bits = filled[word] ?? 0;
    }
    return word * WORD_BITS + 31 - Math.clz32(bits & -bits);
  }
}
