/** Summaries of repeated measurements. */

/** Quantiles of the samples, in their unit. */
export interface Summary {
  readonly samples: number;
  readonly min: number;
  readonly p25: number;
  readonly median: number;
  readonly p75: number;
  readonly p99: number;
  readonly max: number;
}

/** Linear interpolation between the two nearest samples. @param sorted ascending, not empty @param q from 0 to 1 */
export function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/** Undefined without samples. */
export function summarize(samples: readonly number[]): Summary | undefined {
  if (samples.length === 0) return undefined;
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (q: number): number => quantile(sorted, q);
  return {
    samples: sorted.length,
    min: at(0),
    p25: at(0.25),
    median: at(0.5),
    p75: at(0.75),
    p99: at(0.99),
    max: at(1),
  };
}

/** Whether the middle halves of two results overlap, so that there is no clear difference. */
export function overlap(a: Summary, b: Summary): boolean {
  return a.p25 <= b.p75 && b.p25 <= a.p75;
}

/** Collects samples under keys, in the order of the keys' first appearance. */
export class SampleBook<K> {
  private readonly entries = new Map<string, { readonly key: K; readonly samples: number[] }>();

  add(key: K, sample: number): void {
    const name = JSON.stringify(key);
    let entry = this.entries.get(name);
    if (entry === undefined) {
      entry = { key, samples: [] };
      this.entries.set(name, entry);
    }
    entry.samples.push(sample);
  }

  get(key: K): Summary | undefined {
    return summarize(this.entries.get(JSON.stringify(key))?.samples ?? []);
  }

  keys(): K[] {
    return [...this.entries.values()].map(({ key }) => key);
  }
}
