/** Counts interrupts of a controller while a check runs. */
import type { InterruptKind } from "../../../../pci/interrupts.js";
import { interruptCounts } from "../../../../pci/interrupts.js";
import type { ConformBench, Queue } from "../bench.js";
import { needs } from "../findings.js";

/** How long to look for an interrupt that mustn't come. */
const QUIET_MS = 50;
const MOST_VECTORS = 32;

/** Has a queue interrupt. @param counts of all vectors, which this clears first */
export async function provoke(bench: ConformBench, queue: Queue, counts: number[]): Promise<void> {
  const { nsid } = await bench.blocks();
  counts.fill(0);
  await bench.send(queue, { opcode: 0, nsid });
}

/** Counts interrupts of a kind while `work` runs on a freshly started controller. @throws NotApplicable without that kind */
export async function counting(
  bench: ConformBench,
  kind: InterruptKind,
  work: (counts: number[]) => Promise<string | undefined>,
): Promise<string | undefined> {
  const has = interruptCounts(bench.device.io)[kind];
  needs(has > 0, `the function has no ${kind}`);
  await bench.stop();
  using interrupts = bench.device.enableInterrupts({ kind, count: Math.min(has, MOST_VECTORS) });
  const counts = interrupts.vectors.map(() => 0);
  for (const { index } of interrupts.vectors)
    interrupts.watch(index, (count) => {
      counts[index] = (counts[index] ?? 0) + count;
    });
  try {
    return await work(counts);
  } finally {
    await bench.stop();
  }
}

/** Waits in vain for what `came` tells. @returns whether it came all the same */
export async function comes(bench: ConformBench, came: () => boolean): Promise<boolean> {
  await bench.until("", came, QUIET_MS).catch(() => {});
  return came();
}
