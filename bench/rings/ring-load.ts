/** The loop of host.c on the library's rings: reads at a queue depth, with a new one for each completed one. */
import { getHeapStatistics } from "node:v8";
import { CommandIds } from "../../src/nvme/queues/command-ids.js";
import { CompletionQueue } from "../../src/nvme/queues/completion-queue.js";
import { writeIoEntry } from "../../src/nvme/queues/submission-entry.js";
import { SubmissionQueue } from "../../src/nvme/queues/submission-queue.js";
import { IoOpcode } from "../../src/nvme/spec/opcodes.js";
import { CQ_DOORBELL, ENTRIES, InlineController, type SharedQueues, SQ_DOORBELL } from "./device.js";

class RingLoad {
  done = 0;
  private lbaLow = 0;
  private readonly sq: SubmissionQueue;
  private readonly cq: CompletionQueue;
  private readonly cids: CommandIds;

  constructor({ sqWords, cqWords, doorbells }: SharedQueues, depth: number) {
    this.sq = new SubmissionQueue(1, ENTRIES, sqWords, doorbells, SQ_DOORBELL);
    this.cq = new CompletionQueue(1, ENTRIES, cqWords, doorbells, CQ_DOORBELL);
    this.cids = new CommandIds(depth);
    for (let i = 0; i < depth; i++) this.readNext();
    this.sq.ring();
  }

  private readNext(): void {
    const { sq } = this;
    const lba = this.lbaLow;
    const prp = 0x1000_0000 + (lba & 0xff) * 4096;
    writeIoEntry(sq.words, sq.slot, IoOpcode.read, this.cids.take(), 1, lba, 0, 7, 0, prp, 1, 0, 0);
    sq.post();
    this.lbaLow = (lba + 8) >>> 0;
  }

  turn(): void {
    const { cq, cids } = this;
    const count = cq.reap(ENTRIES);
    if (count === 0) return;
    for (let i = 0; i < count; i++) {
      if ((cq.statuses[i] ?? 1) !== 0 || !cids.give(cq.cids[i] ?? -1)) throw new Error("a read failed");
      this.readNext();
    }
    this.done += count;
    cq.ring();
    this.sq.ring();
  }
}

/**
 * After a program is started, each page of this process is copied at its next write, so the first measurements don't say
 * anything about the loop.
 */
export const WARM_UP_MS = 60;

/** @returns commands per second */
export function runRings(queues: SharedQueues, depth: number, milliseconds: number): number {
  const load = new RingLoad(queues, depth);
  spin(load, WARM_UP_MS);
  const before = load.done;
  const spent = spin(load, milliseconds);
  return ((load.done - before) / spent) * 1000;
}

/** @returns milliseconds that passed */
function spin(load: RingLoad, milliseconds: number): number {
  const start = performance.now();
  for (let turns = 0; ; turns++) {
    load.turn();
    if ((turns & 1023) === 0) {
      const passed = performance.now() - start;
      if (passed > milliseconds) return passed;
    }
  }
}

/** Commands per second of one core, without what its controller takes. */
export function runRingsInline(queues: SharedQueues, depth: number, milliseconds: number): number {
  const load = new RingLoad(queues, depth);
  const controller = new InlineController(queues);
  spinInline(load, controller, WARM_UP_MS);
  const before = load.done;
  const spent = spinInline(load, controller, milliseconds);
  return ((load.done - before) / spent) * 1000;
}

/** @returns milliseconds that the host's part took */
function spinInline(load: RingLoad, controller: InlineController, milliseconds: number): number {
  let spent = 0;
  while (spent < milliseconds) {
    controller.completeAll();
    const begin = performance.now();
    load.turn();
    spent += performance.now() - begin;
  }
  return spent;
}

/** @returns bytes that V8's heap has grown by per command; nothing may be collected meanwhile (--trace-gc shows it) */
export function measureGarbage(queues: SharedQueues, commands: number): number {
  const load = new RingLoad(queues, 128);
  const controller = new InlineController(queues);
  const runTo = (end: number): void => {
    while (load.done < end) {
      controller.completeAll();
      load.turn();
    }
  };
  runTo(1_000_000);
  globalThis.gc?.();
  const before = getHeapStatistics().used_heap_size;
  runTo(1_000_000 + commands);
  return (getHeapStatistics().used_heap_size - before) / commands;
}
