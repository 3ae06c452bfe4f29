/** Bare typed-array accesses beside what is declared: times in turns, and the garbage. */
import { getHeapStatistics } from "node:v8";
import { measureInTurns, type Way } from "./rounds.js";

const ROUNDS = 101;
const CYCLES = 100_000;
const COUNTED = 20_000;

/** Two loops that do the same. */
export interface Pair {
  readonly name: string;
  readonly bare: (cycles: number) => void;
  readonly declared: (cycles: number) => void;
}

/** Prints a line for each pair. */
export async function comparePairs(pairs: readonly Pair[]): Promise<void> {
  for (const { name, bare, declared } of pairs) {
    const [first, second] = await measureInTurns(
      [timed("bare", bare), timed("declared", declared)],
      ROUNDS,
      CYCLES,
    );
    if (first === undefined || second === undefined) throw new Error("nothing measured");
    const garbage = garbageOf(declared);
    console.log(
      `${name.padEnd(30)} bare ${first.medianNs.toFixed(2)} ns, declared ${second.medianNs.toFixed(2)} ns, ` +
        `ratio ${second.ratio.toFixed(2)} (best tenth ${second.quietRatio.toFixed(2)}), garbage ${garbage.toFixed(3)} bytes`,
    );
  }
}

function timed(name: string, run: (cycles: number) => void): Way {
  return {
    name,
    run(cycles) {
      const start = process.hrtime.bigint();
      run(cycles);
      return Number(process.hrtime.bigint() - start) / cycles;
    },
  };
}

function garbageOf(run: (cycles: number) => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 7; round++) {
    globalThis.gc?.();
    const before = getHeapStatistics().used_heap_size;
    run(COUNTED);
    least = Math.min(least, getHeapStatistics().used_heap_size - before);
  }
  return least / COUNTED;
}
