/**
 * Measures DmaPool: nanoseconds to take a block and give it back, and the garbage of a cycle. Needs no device and no IOMMU,
 * because the pool makes no system call once its memory is mapped.
 * Run: npm run build && node --expose-gc dist/bench/pool.js
 */
import { getHeapStatistics } from "node:v8";
import { Lease } from "../src/core/lifetime/lease.js";
import type { PoolHandle } from "../src/doors/dma.js";
import { type DmaMapper, DmaPool, DmaSpace, iova } from "../src/index.js";

const CYCLES = 2_000_000;
const COUNTED = 50_000;
const ROUNDS = 7;

/** Stands in for an IOMMU: memory is "reached" at its own address. */
const mapper: DmaMapper = {
  lease: new Lease("bench", () => {}),
  name: "none",
  iovaRanges: () => [{ start: iova(0n), last: iova(2n ** 47n - 1n) }],
  alignmentBytes: () => 4096,
  map: (address) => iova(BigInt(address)),
  unmap: () => {},
};

const collect = globalThis.gc;
if (collect === undefined) throw new Error("run with --expose-gc");

function measure(name: string, cycle: (i: number) => void): void {
  for (let i = 0; i < 100_000; i++) cycle(i);
  let best = Number.POSITIVE_INFINITY;
  let garbage = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < CYCLES; i++) cycle(i);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / CYCLES);
    // So few that even much garbage doesn't fill the young generation: a collection would hide it.
    collect?.();
    const before = getHeapStatistics().used_heap_size;
    for (let i = 0; i < COUNTED; i++) cycle(i);
    garbage = Math.min(garbage, getHeapStatistics().used_heap_size - before);
  }
  const perCycle = (garbage / COUNTED).toFixed(3);
  console.log(`${name.padEnd(52)}${best.toFixed(1).padStart(8)}${perCycle.padStart(18)}`);
}

using space = new DmaSpace(mapper);
using equal = new DmaPool(space, { blockSizes: [4096], prefill: true });
using mixed = new DmaPool(space);

console.log(`${"alloc + free".padEnd(52)}${"ns".padStart(8)}${"bytes of garbage".padStart(18)}`);
measure("one block of 4 KiB", () => equal.free(equal.alloc(4096)));
measure("one block of 64 bytes to 64 KiB", (i) => mixed.free(mixed.alloc(1 + ((i * 7919) & 0xffff))));

// 128 blocks are in use: the oldest is given back before a new one is taken.
const queue = new Int32Array(128);
for (let i = 0; i < queue.length; i++) queue[i] = equal.alloc(4096);
measure("128 in flight, oldest given back", (i) => {
  equal.free((queue[i & 127] ?? 0) as PoolHandle);
  queue[i & 127] = equal.alloc(4096);
});

const descriptor = new Uint32Array(2);
measure("one block, its address and its bytes", (i) => {
  const block = equal.alloc(4096);
  equal.writeIova(block, descriptor, 0);
  equal.bytes(block)[0] = i & 0xff;
  equal.free(block);
});
