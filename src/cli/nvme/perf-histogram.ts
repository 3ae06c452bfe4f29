/** Latencies counted in buckets, 64 to each power of two: at most 1.6 % off, and nothing is allocated to count one. */

const SUB_BITS = 6;
/** Up to here each value has a bucket of its own. */
const EXACT = 2 << SUB_BITS;
/** Longer ones, from 2^31 ns on, count as that. */
const MAX_NS = 2 ** 31 - 1;
const BUCKETS = bucketOf(MAX_NS) + 1;

/** Latencies as they are recorded: a small integer costs nothing to hand over. @param ns not negative */
export function wholeNs(ns: number): number {
  return ns < MAX_NS ? ns | 0 : MAX_NS;
}

function bucketOf(ns: number): number {
  const shift = 31 - SUB_BITS - Math.clz32(ns | (EXACT - 1));
  return (shift << SUB_BITS) + (ns >>> shift);
}

/** Highest value that is counted in a bucket. */
function bucketEnd(at: number): number {
  if (at < EXACT) return at;
  const shift = (at >> SUB_BITS) - 1;
  return (at - (shift << SUB_BITS) + 1) * 2 ** shift - 1;
}

/** What workers send. */
export interface HistogramData {
  readonly counts: Uint32Array;
  /** Lowest and highest in nanoseconds. */
  readonly extremes: Int32Array;
  /** One number: all of them together, in nanoseconds. */
  readonly sum: Float64Array;
}

const MIN = 0;
const MAX = 1;

export class LatencyHistogram {
  private readonly counts: Uint32Array;
  private readonly extremes: Int32Array;
  private readonly sum: Float64Array;

  constructor(data?: HistogramData) {
    this.counts = data?.counts ?? new Uint32Array(BUCKETS);
    this.extremes = data?.extremes ?? Int32Array.of(MAX_NS, 0);
    this.sum = data?.sum ?? new Float64Array(1);
  }

  get data(): HistogramData {
    const { counts, extremes, sum } = this;
    return { counts, extremes, sum };
  }

  reset(): void {
    this.counts.fill(0);
    this.extremes.set([MAX_NS, 0]);
    this.sum.fill(0);
  }

  /** @param ns of {@link wholeNs} */
  record(ns: number): void {
    const { counts, extremes, sum } = this;
    const at = bucketOf(ns);
    counts[at] = (counts[at] ?? 0) + 1;
    extremes[MIN] = Math.min(extremes[MIN] ?? 0, ns);
    extremes[MAX] = Math.max(extremes[MAX] ?? 0, ns);
    sum[0] = (sum[0] ?? 0) + ns;
  }

  add(other: HistogramData): void {
    for (const [at, count] of other.counts.entries()) this.counts[at] = (this.counts[at] ?? 0) + count;
    const { extremes, sum } = this;
    extremes[MIN] = Math.min(extremes[MIN] ?? 0, other.extremes[MIN] ?? MAX_NS);
    extremes[MAX] = Math.max(extremes[MAX] ?? 0, other.extremes[MAX] ?? 0);
    sum[0] = (sum[0] ?? 0) + (other.sum[0] ?? 0);
  }

  get count(): number {
    let sum = 0;
    for (const count of this.counts) sum += count;
    return sum;
  }

  /** In nanoseconds; 0 where nothing was recorded. */
  get minNs(): number {
    return this.count === 0 ? 0 : (this.extremes[MIN] ?? 0);
  }

  get maxNs(): number {
    return this.extremes[MAX] ?? 0;
  }

  get meanNs(): number {
    const { count } = this;
    return count === 0 ? 0 : (this.sum[0] ?? 0) / count;
  }

  /** What this share of all stayed at or below: the upper end of the bucket. @param share from 0 to 1 */
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
