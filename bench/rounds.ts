/** Measures several ways to do the same in turns, so that drifts (clock, load, heat) affect all of them alike. */
export interface Way {
  readonly name: string;
  /** Does it so many times. @returns nanoseconds per time */
  run(cycles: number): number | Promise<number>;
}

const WARM_UP_MS = 2000;

/** Wraps a function to be measured in this process. */
export function inProcess(name: string, once: () => void): Way {
  return {
    name,
    run(cycles) {
      const start = process.hrtime.bigint();
      for (let i = 0; i < cycles; i++) once();
      return Number(process.hrtime.bigint() - start) / cycles;
    },
  };
}

export interface Measured {
  readonly name: string;
  /** Median over the rounds, in nanoseconds. */
  readonly medianNs: number;
  /** The 10th percentile over the rounds, in nanoseconds. */
  readonly quietNs: number;
  /** Median over the rounds of this way's time by the first way's time in the same round. */
  readonly ratio: number;
  /** The ratio of the 10th percentiles, for machines on which other work disturbs most rounds. */
  readonly quietRatio: number;
}

/** The 10th percentile. */
function bestTenth(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 10)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * @param ways the first is what the others are compared with
 * @param cycles per way and round; a few unmeasured ones before them wake the threads and the processor
 * @param warmUpCycles runs at least so many of each way first, or for two seconds
 */
export async function measureInTurns(
  ways: readonly Way[],
  rounds: number,
  cycles: number,
  warmUpCycles = 0,
): Promise<Measured[]> {
  const times = ways.map((): number[] => []);
  // For the JIT compiler, which is slow under emulation.
  for (const way of ways) {
    const end = performance.now() + WARM_UP_MS;
    for (let done = 0; done < warmUpCycles || performance.now() < end; done += cycles) await way.run(cycles);
  }
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < ways.length; i++) {
      // Each way comes first, second, ... as often.
      const at = (i + round) % ways.length;
      await ways[at]?.run(Math.ceil(cycles / 4));
      times[at]?.push((await ways[at]?.run(cycles)) ?? Number.NaN);
    }
  }
  const [reference = []] = times;
  return ways.map(({ name }, i) => {
    const own = times[i] ?? [];
    return {
      name,
      medianNs: median(own),
      quietNs: bestTenth(own),
      ratio: median(own.map((time, round) => time / (reference[round] ?? Number.NaN))),
      quietRatio: bestTenth(own) / bestTenth(reference),
    };
  });
}
