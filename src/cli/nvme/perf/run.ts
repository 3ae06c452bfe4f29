/** A run of `iova nvme perf` on a queue pair: it warms up, measures, and drains the queue. A verified one fills and checks the range. */
import { TimeoutError } from "../../../core/errors.js";
import type { HistogramData } from "./histogram.js";
import { PerfQueue, type PerfQueueSetup, Shared } from "./queue.js";
import { ShapedQueue } from "./shaped-queue.js";
import type { WrongBlocks } from "./wrong-blocks.js";

/** Results of the measuring phase. */
export interface PerfQueueResult {
  readonly latencies: HistogramData;
  /** Latencies of reads and writes; empty if they aren't told apart. */
  readonly kinds: readonly HistogramData[];
  /** Bytes moved; undefined if all commands are of one size. */
  readonly bytes: number | undefined;
  /** Blocks that weren't what was written; undefined if data isn't verified. */
  readonly wrong: WrongBlocks | undefined;
  readonly seconds: number;
  /** CPU time of the whole process. */
  readonly cpuMicroseconds: number;
  /** When measuring began and ended, by performance.now() of this thread. */
  readonly from: number;
  readonly to: number;
}

/** In their order. */
export const phases = ["filling", "warming up", "measuring", "draining", "checking", "done"] as const;
type Phase = (typeof phases)[number];

/** Milliseconds after which the commands done are counted again. */
const COUNT_MS = 20;
/** Turns between two looks at the clock: under a millisecond if nothing completes. */
const TURNS = 1024;

export class PerfRun {
  private readonly queue: PerfQueue;
  private phase: Phase = "filling";
  private phaseEndsAt = 0;
  private from = 0;
  private to = 0;
  private cpuBefore = process.cpuUsage();
  private cpuMicroseconds = 0;
  /** When commands are counted next, and how many were before. */
  private countsAt = 0;
  private readonly countMs: number;
  private counted = 0;
  private before = 0;

  constructor(setup: PerfQueueSetup) {
    const { plan } = setup;
    this.queue = plan.shape === undefined ? new PerfQueue(setup) : new ShapedQueue(setup, plan.shape);
    this.countMs = plan.runMs / plan.samples;
  }

  get isDone(): boolean {
    return this.phase === "done";
  }

  /** Whether a rate lets the queue wait with nothing outstanding. */
  get isPaced(): boolean {
    const { commandRate = 0, byteRate = 0 } = this.queue.setup.plan.shape ?? {};
    return commandRate + byteRate > 0;
  }

  /** Submits the first commands. */
  start(): void {
    this.queue.start();
    this.look();
  }

  /** Polls until the run is done. @throws as {@link turn} */
  poll(): void {
    const { queue } = this;
    while (this.phase !== "draining") {
      spin(queue);
      this.look();
    }
    while (!this.isDone) this.turn();
  }

  /** Takes completions once. @returns their number @throws NvmeError, NvmeProtocolError, TimeoutError */
  turn(): number {
    const count = this.phase === "draining" ? this.queue.drain() : this.queue.turn();
    this.look();
    return count;
  }

  /** Enters the next phase when it is time. @throws TimeoutError if nothing completes any more */
  look(): void {
    const { queue } = this;
    const { plan, id, shared } = queue.setup;
    const now = performance.now();
    if (now >= this.countsAt) this.count(now);
    if (this.phase === "draining" && queue.outstanding === 0)
      this.enter(queue.beginCheck() ? "checking" : "done");
    else if (now - queue.lastCompletion > plan.timeoutMs) {
      throw new TimeoutError(`${queue.outstanding} commands of queue ${id}`, plan.timeoutMs);
    } else if (this.phase === "filling" && !queue.isInPass) {
      this.enter("warming up");
      this.phaseEndsAt = now + plan.warmUpMs;
    } else if (this.phase === "warming up") {
      const isOver = plan.held ? Atomics.load(shared, Shared.released) === 1 : now >= this.phaseEndsAt;
      if (isOver) this.measure(now);
    } else if (this.phase === "measuring" && now >= this.phaseEndsAt) this.end(now);
    else if (this.phase === "checking" && !queue.isInPass) this.enter("done");
  }

  /** The results of a run that is done. */
  result(): PerfQueueResult {
    const { from, to, cpuMicroseconds } = this;
    const { latencies, kinds, bytes, wrong } = this.queue;
    const times = { seconds: (to - from) / 1000, cpuMicroseconds, from, to };
    return { latencies: latencies.data, kinds: kinds.map(({ data }) => data), bytes, wrong, ...times };
  }

  private enter(phase: Phase): void {
    this.phase = phase;
    Atomics.store(this.queue.setup.shared, Shared.phase, phases.indexOf(phase));
  }

  /** Counts the commands since the last time. */
  private count(now: number): void {
    const { shared, plan } = this.queue.setup;
    const ios = this.before + this.queue.latencies.count;
    Atomics.store(shared, Shared.ios, ios >>> 0);
    if (this.phase === "measuring") {
      const at = Math.ceil((now - this.from) / this.countMs) - 1;
      Atomics.add(shared, Shared.samples + Math.min(Math.max(at, 0), plan.samples - 1), ios - this.counted);
    }
    this.counted = ios;
    this.countsAt = now + COUNT_MS;
  }

  private measure(now: number): void {
    this.count(now);
    this.before = this.counted;
    this.enter("measuring");
    this.phaseEndsAt = now + this.queue.setup.plan.runMs;
    this.queue.reset();
    this.from = now;
    this.cpuBefore = process.cpuUsage();
  }

  private end(now: number): void {
    this.count(now);
    this.enter("draining");
    this.to = now;
    const { user, system } = process.cpuUsage(this.cpuBefore);
    this.cpuMicroseconds = user + system;
  }
}

/** A separate function that doesn't depend on the phase, so that V8 compiles it once. */
function spin(queue: PerfQueue): void {
  for (let i = 0; i < TURNS; i++) queue.turn();
}
