/** Work that a command begins and that goes on in the background. */

/** Time between two looks at the clock, at least. */
const TICK_MS = 20;

/** What background work does, and for how long. */
export interface WorkSteps {
  /** Goes on, up to this part of the whole (0 to 1). @returns how far it is, which may be less */
  advance(upTo: number): number;
  /** All of it is done. */
  finished(): void;
}

/** Runs work beside commands, for a given time or as long as it takes. */
export class BackgroundWork {
  /** The part that is done, 0 to 1. */
  done = 0;
  private timer: NodeJS.Timeout | undefined;
  private totalMs = 0;
  private startedAt = 0;
  private isRunning = false;
  private paused = false;

  constructor(private readonly steps: WorkSteps) {}

  /** @param done the part that was done before */
  start(totalMs: number, done = 0): void {
    this.stop();
    this.totalMs = totalMs;
    this.done = done;
    this.isRunning = true;
    if (!this.paused) this.resume();
  }

  /** Ends the work where it is. */
  stop(): void {
    clearTimeout(this.timer);
    this.isRunning = false;
  }

  /** Stops the work until resume(). */
  pause(): void {
    if (this.paused) return;
    clearTimeout(this.timer);
    if (this.isRunning) this.done = this.steps.advance(this.due);
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.startedAt = performance.now() - this.done * this.totalMs;
    if (this.isRunning) this.schedule();
  }

  /** The part that should be done by now. */
  get due(): number {
    if (!this.isRunning || this.paused) return this.done;
    if (this.totalMs === 0) return 1;
    return Math.min(1, (performance.now() - this.startedAt) / this.totalMs);
  }

  private schedule(): void {
    clearTimeout(this.timer);
    if (this.paused) return;
    const leftMs = (1 - this.done) * this.totalMs;
    const isLate = this.done < this.due;
    this.timer = setTimeout(this.tick, isLate ? 0 : Math.min(TICK_MS, leftMs));
    // It must not keep the process alive.
    this.timer.unref();
  }

  private readonly tick = (): void => {
    this.done = this.steps.advance(this.due);
    // advance() may have found that it can't go on.
    if (!this.isRunning) return;
    if (this.done < 1) {
      this.schedule();
      return;
    }
    this.isRunning = false;
    this.steps.finished();
  };
}
