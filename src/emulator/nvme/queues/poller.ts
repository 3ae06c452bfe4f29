/** Drives a controller from the event loop, and sleeps while there is no work. */

/** What a poller drives. */
export interface PolledWork {
  /** Looks at all queues once. @returns how much there was to do */
  pump(): number;
  /** The poller stops polling: asks hosts with shadow doorbells to ring the real ones. */
  beforeSleep(): void;
  /** Milliseconds until something is due by itself; infinite where nothing is. */
  dueInMs(): number;
}

export interface PollerOptions {
  /** Time that one turn of the event loop looks for work. */
  readonly spinMs: number;
  /** Time without work after which the poller sleeps. */
  readonly idleAfterMs: number;
  /**
   * Time between two looks while asleep; it grows up to six times this. Undefined if wake() announces all work.
   */
  readonly idlePollMs: number | undefined;
}

/** How the time between two looks grows with every look that finds nothing, and to how much. */
const NAP_GROWTH = 1 / 64;
const NAP_LIMIT = 6;

/** Pumps between two looks at the clock. */
const PUMPS_PER_CLOCK = 64;

/**
 * Drives a controller from the event loop: in long turns while there is work, by a slow timer when there is none (the
 * store to a shared doorbell raises no event), and not at all if wake() announces work.
 */
export class Poller {
  private lastWork = 0;
  private timer: NodeJS.Timeout | undefined;
  private spinning = false;
  /** Looks without work since the last work. */
  private naps = 0;
  private stopped = true;

  constructor(
    private readonly work: PolledWork,
    private readonly options: PollerOptions,
  ) {}

  /** There is, or soon will be, something to do. */
  wake(): void {
    this.stopped = false;
    this.lastWork = performance.now();
    if (this.spinning) return;
    this.naps = 0;
    clearTimeout(this.timer);
    this.spinning = true;
    setImmediate(this.turn);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private readonly turn = (): void => {
    if (this.stopped) {
      this.spinning = false;
      return;
    }
    const { work, options } = this;
    const until = performance.now() + options.spinMs;
    let done = 0;
    let now: number;
    do {
      for (let i = 0; i < PUMPS_PER_CLOCK; i++) done += work.pump();
      now = performance.now();
    } while (now < until);
    if (done > 0) this.lastWork = now;
    else if (now - this.lastWork >= options.idleAfterMs) {
      this.fallAsleep();
      return;
    }
    setImmediate(this.turn);
  };

  private fallAsleep(): void {
    this.work.beforeSleep();
    // Work that arrived before the host could know that the poller sleeps.
    if (this.work.pump() > 0) {
      this.lastWork = performance.now();
      setImmediate(this.turn);
      return;
    }
    this.spinning = false;
    const { idlePollMs = Number.POSITIVE_INFINITY } = this.options;
    const nap = idlePollMs * Math.min(1 + this.naps++ * NAP_GROWTH, NAP_LIMIT);
    const delay = Math.min(nap, this.work.dueInMs());
    if (delay === Number.POSITIVE_INFINITY) return;
    this.timer = setTimeout(this.look, delay);
    this.timer.unref();
  }

  private readonly look = (): void => {
    if (this.stopped) return;
    if (this.work.pump() > 0) this.wake();
    else this.fallAsleep();
  };
}
