/** Weighted round robin with an urgent class, on an emulated controller. */
import { randomFillSync } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import {
  type RawCompletionQueue,
  type RawSubmissionQueue,
  writeIoEntry,
} from "../../../../src/doors/nvme.js";
import { type NvmeController, UnsupportedError } from "../../../../src/index.js";
import { parseNvmeOptions } from "../../../../src/nvme/engine/options.js";
import { planStartUp } from "../../../../src/nvme/engine/start-up.js";
import { Feature } from "../../../../src/nvme/spec/features.js";
import { caught } from "../../../support/caught.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

const FLUSH = 0;
const PER_QUEUE = 100;
const ROOM = 1023;

/** Posts flushes, and rings once for all of them. */
function post(queue: RawSubmissionQueue, count: number): void {
  for (let i = 0; i < count; i++) {
    writeIoEntry(queue.ring.words, queue.ring.slot, FLUSH, i, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    queue.ring.post();
  }
  queue.ringDoorbell();
}

/** Takes this many completions. @returns the queues of their commands */
async function take(queue: RawCompletionQueue, count: number): Promise<number[]> {
  const sqids: number[] = [];
  while (sqids.length < count) {
    const taken = queue.ring.reap(count - sqids.length);
    for (let i = 0; i < taken; i++) {
      expect(queue.ring.statuses[i]).toBe(0);
      sqids.push(queue.ring.sqids[i] ?? 0);
    }
    if (taken === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return sqids;
}

const classes = [
  ["urgent", 2],
  ["high", 3],
  ["high", 4],
  ["medium", 5],
  ["low", 6],
] as const;

/** The order in which commands are served that are all posted before the start. */
async function served(nvme: NvmeController, count: number): Promise<number[]> {
  const { rings } = nvme;
  const cq = await rings.createCompletionQueue({ id: 2, entries: ROOM + 1 });
  const queues: RawSubmissionQueue[] = [];
  for (const [priority, id] of classes)
    queues.push(await rings.createSubmissionQueue(cq, { id, entries: PER_QUEUE + 1, priority }));
  const stopper = await rings.createSubmissionQueue(cq, { id: 7, entries: ROOM + 1, priority: "urgent" });
  // While its completion queue is full the controller takes no command.
  post(stopper, ROOM);
  await vi.waitFor(() => expect(cq.phaseAt(ROOM - 1)).toBe(1), { timeout: 600_000 });
  for (const queue of queues) post(queue, PER_QUEUE);
  expect(await take(cq, ROOM)).toEqual(Array.from({ length: ROOM }, () => 7));
  cq.ringDoorbell();
  const order = await take(cq, count);
  cq.ringDoorbell();
  for (const queue of [...queues, stopper]) await rings.delete(queue);
  await rings.delete(cq);
  return order;
}

/**
 * By the specification, a weight is the number of a class's commands in a round, a burst the number of one queue's in a
 * row.
 */
function expected(weights: readonly [high: number, medium: number, low: number], burst: number): number[] {
  const left = new Map<number, number>(classes.map(([, id]) => [id, PER_QUEUE]));
  const order = Array.from({ length: PER_QUEUE }, () => 2);
  const members = [[3, 4], [5], [6]];
  const turns = [0, 0, 0];
  while (order.length < classes.length * PER_QUEUE) {
    for (const [i, weight] of weights.entries()) {
      let credits = weight;
      const ids = members[i] ?? [];
      while (credits > 0 && ids.some((id) => (left.get(id) ?? 0) > 0)) {
        const id = ids[(turns[i] ?? 0) % ids.length] ?? 0;
        turns[i] = (turns[i] ?? 0) + 1;
        const now = Math.min(credits, burst, left.get(id) ?? 0);
        for (let k = 0; k < now; k++) order.push(id);
        left.set(id, (left.get(id) ?? 0) - now);
        credits -= now;
      }
    }
  }
  return order;
}

describe("weighted arbitration", () => {
  test.each([
    [{ high: 16, medium: 4, low: 1, burst: 4 }, [16, 4, 1], 4],
    [{ high: 3, medium: 2, low: 5, burst: 1 }, [3, 2, 5], 1],
    [{ high: 32, medium: 7, low: 1 }, [32, 7, 1], Number.POSITIVE_INFINITY],
  ] as const)(
    "serves commands by class and weight, also after a reset: %o",
    async (arbitration, weights, burst) => {
      // A doorbell by message is seen between two rounds. One in shared memory may be seen within a round, which then
      // begins with another class.
      const nvme = await openController({ doorbells: "messages" }, { arbitration, queues: 7 });
      expect(nvme.capabilities.ams & 1).toBe(1);
      for (const queue of nvme.queues.slice(1)) await nvme.deleteQueuePair(queue);
      for (const reset of [false, true]) {
        if (reset) await nvme.reset();
        const { highWeight, mediumWeight, lowWeight } = await nvme.features.read(Feature.arbitration);
        expect([highWeight, mediumWeight, lowWeight]).toEqual(weights.map((weight) => weight - 1));
        expect(await served(nvme, classes.length * PER_QUEUE)).toEqual(expected([...weights], burst));
      }
    },
  );

  test("lets queue pairs of all classes carry data, also after a reset; without it there are no classes", async () => {
    const nvme = await openController({}, { arbitration: { high: 8 }, queues: 5 });
    const ns = await nvme.namespace(1);
    for (const queue of nvme.queues.slice(1)) await nvme.deleteQueuePair(queue);
    using source = nvme.dma.alloc(4096);
    using target = nvme.dma.alloc(4096);
    for (const priority of ["urgent", "high", "medium", "low"] as const)
      expect(await nvme.createQueuePair({ priority })).toMatchObject({ priority });
    for (const reset of [false, true]) {
      if (reset) await nvme.reset();
      for (const queue of nvme.queues) {
        randomFillSync(source.bytes);
        await ns.write(0n, source, { queue });
        await ns.read(0n, target, { queue });
        expect(Buffer.compare(target.bytes, source.bytes)).toBe(0);
      }
    }
    const plain = await openController();
    expect(await caught(plain.createQueuePair({ priority: "high" }))).toBeInstanceOf(UnsupportedError);
    const config = parseNvmeOptions({ arbitration: { high: 8 } });
    expect(() => planStartUp("this", { ...nvme.capabilities, ams: 0 }, config)).toThrow(UnsupportedError);
  });
});
