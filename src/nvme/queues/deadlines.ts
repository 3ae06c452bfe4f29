/**
 * Time limits of a queue pair's commands, counted in ticks of one timer, so that commands need not read a clock. The timer
 * runs only while commands are outstanding.
 */
import { setTimeout as startTimer } from "node:timers";

const TICKS_PER_TIMEOUT = 4;
/** A removed controller must be noticed within a second. */
const MAX_TICK_MS = 250;

/** What the timer needs of its queue pair. */
export interface TimedQueue {
  /** Takes completions: a lost interrupt must not turn finished commands into timeouts. */
  reap(): unknown;
  /** Whether commands with a time limit are outstanding, and the queue is running. */
  readonly isBusy: boolean;
  /** Called at each tick while the queue is busy. */
  onTick(): void;
  /** Whether a slot has a command. */
  has(index: number): boolean;
  /** The time limit of a slot's command has expired: the queue has failed. */
  expire(index: number): void;
}

/** The time limits of a queue pair's slots. */
export class Deadlines {
  private readonly ends: Float64Array;
  private readonly tickMs: number;
  private readonly ticksPerLook: number;
  /** Time limit of a command that has none of its own, in ticks. */
  private readonly defaultTicks: number;
  private tick = 0;
  private timer: NodeJS.Timeout | undefined = undefined;

  constructor(
    slots: number,
    private readonly timeoutMs: number,
    private readonly queue: TimedQueue,
  ) {
    this.ends = new Float64Array(slots);
    this.tickMs = Math.min(timeoutMs / TICKS_PER_TIMEOUT, MAX_TICK_MS);
    this.ticksPerLook = Math.round(timeoutMs / TICKS_PER_TIMEOUT / this.tickMs);
    this.defaultTicks = this.ticksOf(timeoutMs);
  }

  /** A command with the default time limit begins. */
  begin(index: number): void {
    this.ends[index] = this.tick + this.defaultTicks;
    // Once the timer runs, it goes on until nothing is outstanding.
    if (this.timer === undefined) this.start();
  }

  /** A command with its own time limit begins. After that limit, the controller has the default time to complete it. */
  beginLimited(index: number, limitMs: number): void {
    this.begin(index);
    this.ends[index] = this.tick + this.ticksOf(limitMs + this.timeoutMs);
  }

  /** A command without a time limit begins. */
  beginUnlimited(index: number): void {
    this.ends[index] = Number.POSITIVE_INFINITY;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private start(): void {
    this.timer = startTimer(this.onTimer, this.tickMs);
  }

  private ticksOf(milliseconds: number): number {
    return Math.ceil(milliseconds / this.tickMs) + 1;
  }

  private readonly onTimer = (): void => {
    const { queue } = this;
    this.timer = undefined;
    this.tick++;
    if (this.tick % this.ticksPerLook === 0) queue.reap();
    if (!queue.isBusy) return;
    queue.onTick();
    if (!queue.isBusy) return;
    if (this.findExpired() >= 0) {
      // The completions may be here: the event loop runs timers before it looks at descriptors.
      queue.reap();
      const expired = this.findExpired();
      if (expired >= 0) {
        queue.expire(expired);
        return;
      }
    }
    if (this.timer === undefined && queue.isBusy) this.start();
  };

  /** A slot whose command should have completed; -1 if there is none. */
  private findExpired(): number {
    const { queue, tick } = this;
    return this.ends.findIndex((end, index) => tick >= end && queue.has(index));
  }
}
