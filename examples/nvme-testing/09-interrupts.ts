/**
 * Interrupts: each completion queue names its vector, or has none. NVMe over PCIe Transport, "Interrupts"; NVMe Base, "Create I/O
 * Completion Queue command" (IEN, IV).
 */
import type { RawSubmissionQueue } from "iova/nvme";
import { Bench, claim, type Entry, entryOf, expectSuccess, post, take, until } from "./bench.js";

const FLUSH = entryOf({ opcode: 0, nsid: 1 });
/** How long to look for an interrupt that mustn't come. */
const QUIET_MS = 100;

await using bench = await Bench.open();
const { device } = bench;
using interrupts = device.enableInterrupts({ count: 3 });
const counts = interrupts.vectors.map(() => 0);
for (const { index } of interrupts.vectors)
  interrupts.watch(index, (count) => {
    counts[index] = (counts[index] ?? 0) + count;
  });
console.log(`  ${interrupts.vectors.length} vectors of ${interrupts.kind}`);

const came = (vector: number): boolean => (counts[vector] ?? 0) > 0;
let heard = 0;
/** Sends an admin command, and waits for its interrupt. One that is still on its way would count for the next queue. */
async function sendAndHear(queue: RawSubmissionQueue, entry: Entry): Promise<void> {
  counts.fill(0);
  await expectSuccess(queue, entry);
  if (await until(() => came(0))) heard++;
}

const admin = await bench.start();
const last = interrupts.vectors.length - 1;
const silent = await bench.pair(admin, { id: 1 }, sendAndHear);
const second = await bench.pair(admin, { id: 2, vector: Math.min(1, last) }, sendAndHear);
const third = await bench.pair(admin, { id: 3, vector: last }, sendAndHear);
claim("the admin queue's completions interrupt by vector 0", heard === 6, `${heard} of 6`);

/** Sends a Flush, and takes its completion. @param vector whose interrupt to wait for @returns the vectors that interrupted */
async function flushOn(queue: RawSubmissionQueue, vector?: number): Promise<string> {
  counts.fill(0);
  post(queue, FLUSH);
  queue.ringDoorbell();
  if ((await take(queue.completionQueue)) === undefined) throw new Error("no completion");
  if (vector !== undefined) await until(() => came(vector));
  await until(() => counts.some((count, index) => index !== vector && count > 0), QUIET_MS);
  queue.completionQueue.ringDoorbell();
  return counts.map((count, index) => (count > 0 ? index : "-")).join("");
}
const only = (vector: number): string => counts.map((_, index) => (index === vector ? vector : "-")).join("");

const first = await flushOn(silent);
claim("a queue without IEN doesn't interrupt", first === only(-1), first);
const found = await flushOn(second, Math.min(1, last));
claim(
  `queue 2 interrupts by its vector ${Math.min(1, last)} and by no other`,
  found === only(Math.min(1, last)),
  found,
);
const more = await flushOn(third, last);
claim(`queue 3 interrupts by its vector ${last} and by no other`, more === only(last), more);

// Three completions before the host looks: at least one interrupt, at most three. An interrupt says "look", not how many.
counts.fill(0);
for (let i = 0; i < 3; i++) post(third, FLUSH);
third.ringDoorbell();
for (let i = 0; i < 3; i++) await take(third.completionQueue);
await until(() => came(last));
claim(
  "one interrupt may stand for several completions",
  (counts[last] ?? 0) >= 1 && (counts[last] ?? 0) <= 3,
  counts[last],
);
await bench.stop();
