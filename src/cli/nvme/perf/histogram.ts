/** Counts latencies in buckets, 64 to each power of two (an error of at most 1.6 %), without allocating. */

const SUB_BITS = 6;
/** Up to here each value has a bucket of its own. */
const EXACT = 2 << SUB_BITS;
/** Longer latencies count as this one. */
const MAX_NS = 2 ** 31 - 1;
const BUCKETS = bucketOf(MAX_NS) + 1;

/** Rounds for {@link LatencyHistogram.record}, to a small integer if possible: V8 allocates an object for other numbers. */
export function wholeNs(ns: number): number {
  return ns <= MAX_NS ? ns | 0 : Math.round(ns);
}

function bucketOf(ns: number): number {
  const shift = 31 - SUB_BITS - Math.clz32(ns | (EXACT - 1));
  return (shift << SUB_BITS) + (ns >>> shift);
}

/** The highest value of a bucket. */
function bucketEnd(at: number): number {
  if (at < EXACT) return at;
  const shift = (at >> SUB_BITS) - 1;
  return (at - (shift << SUB_BITS) + 1) * 2 ** shift - 1;
}

/** The content of a histogram, as threads send it. */
export interface HistogramData {
  readonly counts: Uint32Array;
  /** Lowest, highest and sum in nanoseconds. */
  readonly extremes: Float64Array;
}

const MIN = 0;
const MAX = 1;
const SUM = 2;

export class LatencyHistogram {
  private readonly counts: Uint32Array;
  private readonly extremes: Float64Array;

  constructor(data?: HistogramData) {
    this.counts = data?.counts ?? new Uint32Array(BUCKETS);
    this.extremes = data?.extremes ?? Float64Array.of(Number.POSITIVE_INFINITY, 0, 0);
  }

  get data(): HistogramData {
    return { counts: this.counts, extremes: this.extremes };
  }

  reset(): void {
    this.counts.fill(0);
    this.extremes.set([Number.POSITIVE_INFINITY, 0, 0]);
  }

  /** @param ns whole nanoseconds ({@link wholeNs}) */
  record(ns: number): void {
    const { counts, extremes } = this;
    const at = bucketOf(Math.min(ns, MAX_NS));
    counts[at] = (counts[at] ?? 0) + 1;
    // No branches: a rarely taken one would make V8 recompile this.
    extremes[MIN] = Math.min(extremes[MIN] ?? 0, ns);
    extremes[MAX] = Math.max(extremes[MAX] ?? 0, ns);
    extremes[SUM] = (extremes[SUM] ?? 0) + ns;
  }

  add(other: HistogramData): void {
    for (const [at, count] of other.counts.entries()) this.counts[at] = (this.counts[at] ?? 0) + count;
    const { extremes } = this;
    extremes[MIN] = Math.min(extremes[MIN] ?? 0, other.extremes[MIN] ?? Number.POSITIVE_INFINITY);
    extremes[MAX] = Math.max(extremes[MAX] ?? 0, other.extremes[MAX] ?? 0);
    extremes[SUM] = (extremes[SUM] ?? 0) + (other.extremes[SUM] ?? 0);
  }

  get count(): number {
    let sum = 0;
    for (const count of this.counts) sum += count;
    return sum;
  }

  /** How many latencies are below each power of two, and not below the one before it: from the first with some to the last. */
  get powers(): readonly { readonly belowNs: number; readonly count: number }[] {
    const sums = new Array<number>(33).fill(0);
    for (const [at, count] of this.counts.entries()) {
      const power = Math.ceil(Math.log2(bucketEnd(at) + 1));
      sums[power] = (sums[power] ?? 0) + count;
    }
    const all = sums.map((count, power) => ({ belowNs: 2 ** power, count }));
    const used = all.filter(({ count }) => count > 0);
    return all.filter(
      ({ belowNs }) => belowNs >= (used[0]?.belowNs ?? 0) && belowNs <= (used.at(-1)?.belowNs ?? 0),
    );
  }

  /** In nanoseconds; 0 if nothing was recorded. */
  get minNs(): number {
    const min = this.extremes[MIN] ?? 0;
    return Number.isFinite(min) ? min : 0;
  }

  get maxNs(): number {
    return this.extremes[MAX] ?? 0;
  }

  get meanNs(): number {
    const { count } = this;
    return count === 0 ? 0 : (this.extremes[SUM] ?? 0) / count;
  }

  /** The latency that this share of all did not exceed: the upper end of its bucket. @param share from 0 to 1 */
  percentileNs(share: number): number {
    const wanted = Math.ceil(this.count * share);
    let seen = 0;
    for (const [at, count] of this.counts.entries()) {
      seen += count;
      if (count > 0 && seen >= wanted) return Math.min(bucketEnd(at), this.maxNs);
    }
    return 0;
  }
}
