/**
 * What an allocation and its release cost in the type1 IOVA allocator with few and with many ranges in use, in turns. Beside it
 * what one access to a random place costs in as much memory as the allocator's table takes: that grows, too, as the table
 * outgrows the caches.
 * Run: npm run build && node dist/bench/iova-allocator.js
 */
import { IovaAllocator, iova } from "../src/index.js";
import { inProcess, measureInTurns, type Way } from "./rounds.js";

const GRANULE = 4096;
const LIVE = [10, 100, 1000, 10_000, 100_000];
const ROUNDS = 61;
const STEPS = 20_000;
/** What the allocator takes for a range, free or not, where its table is as full as it gets. */
const BYTES_PER_CELL = 20;
const CELLS_PER_RANGE = 2;

/** Takes one from anywhere and puts another there or elsewhere: the free ranges move about. One release and alloc, or two. */
function stepsWith(live: number): () => void {
  const allocator = new IovaAllocator([{ start: iova(0n), last: iova(2n ** 48n - 1n) }], GRANULE);
  // Every second one is freed again, so that there are as many free ranges as taken ones.
  const given = Array.from({ length: 2 * live }, () => allocator.allocPages(GRANULE));
  const kept = new Float64Array(live);
  for (const [i, at] of given.entries()) {
    if (i % 2 === 0) allocator.releasePages(at, GRANULE);
    else kept[i >> 1] = at;
  }
  let i = 0;
  return () => {
    const which = (++i * 7919) % live;
    const isOdd = (i & 1) === 1;
    allocator.releasePages(kept[which] ?? 0, GRANULE);
    let at = allocator.allocPages(isOdd ? 2 * GRANULE : GRANULE);
    if (isOdd) {
      allocator.releasePages(at, 2 * GRANULE);
      at = allocator.allocPages(GRANULE);
    }
    kept[which] = at;
  };
}

/** Reads and writes a random place. */
function touchesOf(live: number): () => void {
  const cells = 2 ** Math.ceil(Math.log2(2 * live * CELLS_PER_RANGE)) * BYTES_PER_CELL;
  const numbers = new Float64Array(cells / 8).fill(1);
  let seed = 12345;
  return () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    const at = Math.floor((seed / 2 ** 32) * numbers.length);
    numbers[at] = (numbers[at] ?? 0) + 1;
  };
}

const ways = LIVE.flatMap((live): Way[] => [
  inProcess(`${live}`, stepsWith(live)),
  inProcess(`${live} touches`, touchesOf(live)),
]);
const measured = await measureInTurns(ways, ROUNDS, STEPS);
console.log("live ranges   ns a step: best tenth, median   ns an access: best tenth, median");
for (const [i, live] of LIVE.entries()) {
  const step = measured[2 * i];
  const touch = measured[2 * i + 1];
  if (step === undefined || touch === undefined) continue;
  const times = [step.quietNs, step.medianNs].map((time) => time.toFixed(0).padStart(13)).join("");
  const touches = [touch.quietNs, touch.medianNs].map((time) => time.toFixed(1).padStart(16)).join("");
  console.log(`${String(live).padStart(11)}${times}${touches}`);
}
