/** A run of `iova nvme perf` on a queue pair: it warms up, measures, and drains the queue. */
import { TimeoutError } from "../../../core/errors.js";
import type { HistogramData } from "./histogram.js";
import { PerfQueue, type PerfQueueSetup } from "./queue.js";

/** Results of the measuring phase. */
export interface PerfQueueResult {
  readonly latencies: HistogramData;
  readonly seconds: number;
  /** CPU time of the whole process. */
  readonly cpuMicroseconds: number;
  /** When measuring began and ended, by performance.now() of this thread. */
  readonly from: number;
  readonly to: number;
}

type Phase = "warming up" | "measuring" | "draining" | "done";

/** Turns between two looks at the clock: under a millisecond if nothing completes. */
const TURNS = 1024;

export class PerfRun {
  private readonly queue: PerfQueue;
  private phase: Phase = "warming up";
  private phaseEndsAt = 0;
  private from = 0;
  private to = 0;
  private cpuBefore = process.cpuUsage();
  private cpuMicroseconds = 0;

  constructor(setup: PerfQueueSetup) {
    this.queue = new PerfQueue(setup);
  }

  get isDone(): boolean {
    return this.phase === "done";
  }

  /** Submits the first commands. */
  start(): void {
    this.phaseEndsAt = performance.now() + this.queue.setup.plan.warmUpMs;
    this.queue.start();
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
    const { plan, id } = queue.setup;
    const now = performance.now();
    if (this.phase === "draining" && queue.outstanding === 0) this.phase = "done";
    else if (now - queue.lastCompletion > plan.timeoutMs) {
      throw new TimeoutError(`${queue.outstanding} commands of queue ${id}`, plan.timeoutMs);
    } else if (this.phase === "warming up" && now >= this.phaseEndsAt) this.measure(now);
    else if (this.phase === "measuring" && now >= this.phaseEndsAt) this.end(now);
  }

  /** The results of a run that is done. */
  result(): PerfQueueResult {
    const { from, to, cpuMicroseconds } = this;
    return { latencies: this.queue.latencies.data, seconds: (to - from) / 1000, cpuMicroseconds, from, to };
  }

  private measure(now: number): void {
    this.phase = "measuring";
    this.phaseEndsAt = now + this.queue.setup.plan.runMs;
    this.queue.latencies.reset();
    this.from = now;
    this.cpuBefore = process.cpuUsage();
  }

  private end(now: number): void {
    this.phase = "draining";
    this.to = now;
    const { user, system } = process.cpuUsage(this.cpuBefore);
    this.cpuMicroseconds = user + system;
  }
}

/** A separate function that doesn't depend on the phase, so that V8 compiles it once. */
function spin(queue: PerfQueue): void {
  for (let i = 0; i < TURNS; i++) queue.turn();
}
