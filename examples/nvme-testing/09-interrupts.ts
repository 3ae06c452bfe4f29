/**
 * Interrupts: each completion queue names its vector, or has none. NVMe over PCIe Transport, "Interrupts"; NVMe Base, "Create I/O
 * Completion Queue command" (IEN, IV).
 */
import type { RawSubmissionQueue } from "iova/nvme";
import { Bench, claim, entryOf, post, take, until } from "./bench.js";

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

const admin = await bench.start();
const last = interrupts.vectors.length - 1;
const silent = await bench.pair(admin, { id: 1 });
const second = await bench.pair(admin, { id: 2, vector: Math.min(1, last) });
const third = await bench.pair(admin, { id: 3, vector: last });
claim(
  "the admin queue's completions interrupt by vector 0",
  await until(() => (counts[0] ?? 0) > 0),
  counts.join(),
);

/** Sends a Flush, takes its completion, and says which vectors have interrupted. */
async function flushOn(queue: RawSubmissionQueue): Promise<string> {
  counts.fill(0);
  post(queue, FLUSH);
  queue.ringDoorbell();
  if ((await take(queue.completionQueue)) === undefined) throw new Error("no completion");
  await until(() => counts.some((count) => count > 0), QUIET_MS);
  queue.completionQueue.ringDoorbell();
  return counts.map((count, vector) => (count > 0 ? vector : "-")).join("");
}
const only = (vector: number): string => counts.map((_, index) => (index === vector ? vector : "-")).join("");

const first = await flushOn(silent);
claim("a queue without IEN doesn't interrupt", first === only(-1), first);
const found = await flushOn(second);
claim(
  `queue 2 interrupts by its vector ${Math.min(1, last)} and by no other`,
  found === only(Math.min(1, last)),
  found,
);
const more = await flushOn(third);
claim(`queue 3 interrupts by its vector ${last} and by no other`, more === only(last), more);

// Three completions before the host looks: at least one interrupt, at most three. An interrupt says "look", not how many.
counts.fill(0);
for (let i = 0; i < 3; i++) post(third, FLUSH);
third.ringDoorbell();
for (let i = 0; i < 3; i++) await take(third.completionQueue);
await until(() => (counts[last] ?? 0) > 0);
claim(
  "one interrupt may stand for several completions",
  (counts[last] ?? 0) >= 1 && (counts[last] ?? 0) <= 3,
  counts[last],
);
await bench.stop();
