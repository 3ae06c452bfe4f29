/**
 * What an allocation and its release cost in the type1 IOVA allocator with few and with many ranges in use.
 * Run: npm run build && node dist/bench/iova-allocator.js
 */
import { type Iova, IovaAllocator, iova } from "../src/index.js";

const GRANULE = 4096;
const PAIRS = 200_000;
const ROUNDS = 5;

/** Best of several rounds, in nanoseconds per alloc and release. */
function measure(live: number): number {
  const allocator = new IovaAllocator([{ start: iova(0n), last: iova(2n ** 48n - 1n) }], GRANULE);
  // Every second one is freed again, so that there are as many free ranges as taken ones.
  const given = Array.from({ length: 2 * live }, () => allocator.alloc(GRANULE));
  const kept: Iova[] = [];
  for (const [i, at] of given.entries()) {
    if (i % 2 === 0) allocator.release(at, GRANULE);
    else kept.push(at);
  }
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < PAIRS; i++) {
      // Takes one from anywhere and puts another there or elsewhere: the free ranges move about.
      const which = (i * 7919) % kept.length;
      const at = kept[which];
      if (at === undefined) continue;
      allocator.release(at, GRANULE);
      kept[which] = allocator.alloc(GRANULE * (1 + (i & 1)));
      if ((i & 1) === 1) {
        allocator.release(kept[which] ?? at, GRANULE * 2);
        kept[which] = allocator.alloc(GRANULE);
      }
    }
    best = Math.min(best, Number(process.hrtime.bigint() - start) / PAIRS);
  }
  return best;
}

console.log("live ranges   ns per alloc + release");
for (const live of [10, 100, 1000, 10_000, 100_000]) {
  console.log(`${String(live).padStart(11)}${measure(live).toFixed(0).padStart(25)}`);
}
