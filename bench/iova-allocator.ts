/**
 * Measures an allocation and its release in the IOVA allocator with few and with many ranges in use, in turns. For comparison,
 * it measures a random access in as much memory as the allocator's table takes, which also gets slower when the table
 * outgrows the caches.
 * Run: npm run build && node dist/bench/iova-allocator.js
 */
import { iovaOfPage } from "../src/dma/iova/address.js";
import { IovaAllocator, type IovaPlacement } from "../src/doors/dma.js";
import { iova } from "../src/index.js";
import { inProcess, measureInTurns, type Way } from "./rounds.js";

const GRANULE = 4096;
const LIVE = [10, 100, 1000, 10_000, 100_000];
const ROUNDS = 61;
const STEPS = 20_000;
/** Bytes that the allocator needs for a range, free or not, when its table is full. */
const BYTES_PER_CELL = 20;
const CELLS_PER_RANGE = 2;

/** Every second one is free, so there are as many free ranges as taken ones, and none are adjacent. */
function halfFilled(
  live: number,
  placement?: IovaPlacement,
): { allocator: IovaAllocator; kept: Float64Array } {
  const allocator = new IovaAllocator([{ start: iova(0n), last: iova(2n ** 48n - 1n) }], GRANULE);
  const given = Array.from({ length: 2 * live }, () => allocator.allocPages(GRANULE, placement));
  const kept = new Float64Array(live);
  for (const [i, at] of given.entries()) {
    if (i % 2 === 0) allocator.releasePages(at, GRANULE);
    else kept[i >> 1] = at;
  }
  return { allocator, kept };
}

/** Releases a random range and allocates another: the free ranges move. One release and alloc, or two. */
function anywhere(live: number): () => void {
  const { allocator, kept } = halfFilled(live);
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

/** One release and alloc, placed. */
function placed(live: number, placement: IovaPlacement): () => void {
  const { allocator, kept } = halfFilled(live, placement);
  let i = 0;
  return () => {
    const which = (++i * 7919) % live;
    allocator.releasePages(kept[which] ?? 0, GRANULE);
    kept[which] = allocator.allocPages(GRANULE, placement);
  };
}

/** One release, and a reservation of the same address. */
function fixed(live: number): () => void {
  const { allocator, kept } = halfFilled(live);
  let i = 0;
  return () => {
    const page = kept[(++i * 7919) % live] ?? 0;
    allocator.releasePages(page, GRANULE);
    allocator.reserve(iovaOfPage(page), GRANULE);
  };
}

/** Reads and writes a random place. */
function touches(live: number): () => void {
  const cells = 2 ** Math.ceil(Math.log2(2 * live * CELLS_PER_RANGE)) * BYTES_PER_CELL;
  const numbers = new Float64Array(cells / 8).fill(1);
  let seed = 12345;
  return () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    const at = Math.floor((seed / 2 ** 32) * numbers.length);
    numbers[at] = (numbers[at] ?? 0) + 1;
  };
}

const kinds: Readonly<Record<string, (live: number) => () => void>> = {
  anywhere,
  fixed,
  "below 2^40": (live) => placed(live, { last: 2n ** 40n - 1n }),
  aligned: (live) => placed(live, { alignBytes: 4 * GRANULE }),
  "an access": touches,
};

const names = Object.keys(kinds);
const ways = LIVE.flatMap((live) =>
  Object.entries(kinds).map(([name, make]): Way => inProcess(`${live} ${name}`, make(live))),
);
const measured = await measureInTurns(ways, ROUNDS, STEPS);
console.log("ns a step, best tenth / median");
console.log(`live ranges${names.map((name) => name.padStart(14)).join("")}`);
for (const [i, live] of LIVE.entries()) {
  const row = measured.slice(i * names.length, (i + 1) * names.length);
  const cells = row.map(({ quietNs, medianNs }) =>
    `${quietNs.toFixed(0)} / ${medianNs.toFixed(0)}`.padStart(14),
  );
  console.log(`${String(live).padStart(11)}${cells.join("")}`);
}
