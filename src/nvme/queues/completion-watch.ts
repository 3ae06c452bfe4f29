/** How a queue pair notices completions: by interrupt, by polling, or by polling for a while before each interrupt. */
import { setTimeout as startTimer } from "node:timers";

/**
 * How a queue pair notices completions: `interrupt`; `poll` while commands are outstanding; `adaptive`, which polls for a
 * while after each submission and completion and then waits for the interrupt.
 */
export type CompletionMode = "interrupt" | "poll" | "adaptive";

/** Poll interval of a queue with background commands only. */
const BACKGROUND_POLL_MS = 100;
/** Most polls between two turns of the event loop. */
const LOOKS_PER_TURN = 8;

/** What the watch needs of its queue pair. */
export interface WatchedQueue {
  /** Takes all completions. @returns their number */
  reap(): number;
  /** Commands that the controller has: in the foreground, ... */
  readonly outstanding: number;
  /** ... and in the background. */
  readonly background: number;
  /** The queue is suspended or has failed. */
  readonly isStopped: boolean;
}

/** Polls for completions in the modes that poll. */
export class CompletionWatch {
  private isScheduled = false;
  /** Polls left before the next turn of the event loop. */
  private looks = 0;
  /** Adaptive mode: when polling ends. */
  private spinUntil = 0;
  private backgroundTimer: NodeJS.Timeout | undefined = undefined;

  /** @param spinMs adaptive mode: how long to poll after the last event */
  constructor(
    private readonly mode: CompletionMode,
    private readonly spinMs: number,
    private readonly queue: WatchedQueue,
  ) {}

  /** Commands were announced to the controller. */
  begin(): void {
    const { mode } = this;
    if (mode === "interrupt") return;
    if (mode === "adaptive") this.spinUntil = performance.now() + this.spinMs;
    this.schedule();
    // Earlier commands may be done: a turn of the event loop is longer than many commands.
    if (this.looks > 0) {
      this.looks--;
      this.queue.reap();
    }
  }

  stop(): void {
    clearTimeout(this.backgroundTimer);
    this.backgroundTimer = undefined;
  }

  private schedule(): void {
    if (this.isScheduled) return;
    const { queue } = this;
    if (queue.outstanding > 0) {
      this.isScheduled = true;
      setImmediate(this.poll);
    } else if (this.mode === "poll" && queue.background > 0 && this.backgroundTimer === undefined) {
      this.backgroundTimer = startTimer(() => {
        this.backgroundTimer = undefined;
        this.poll();
      }, BACKGROUND_POLL_MS).unref();
    }
  }

  /** Polls once per turn of the event loop while commands are outstanding. */
  private readonly poll = (): void => {
    const { queue } = this;
    this.isScheduled = false;
    this.looks = LOOKS_PER_TURN;
    if (queue.isStopped) return;
    const count = queue.reap();
    if (this.mode === "adaptive") {
      const now = performance.now();
      if (count > 0) this.spinUntil = now + this.spinMs;
      // From here on the interrupt announces completions.
      else if (now >= this.spinUntil) return;
    }
    this.schedule();
  };
}
