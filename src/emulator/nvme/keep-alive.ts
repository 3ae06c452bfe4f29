/** The keep alive timer of the emulated controller. */

/** Stops a controller whose host sends no Keep Alive command in time. */
export class KeepAlive {
  private timer: NodeJS.Timeout | undefined;

  /** @param expired the time is over */
  constructor(private readonly expired: () => void) {}

  /** Begins anew with this timeout; 0 for none. */
  watch(timeoutMs: number): void {
    this.stop();
    if (timeoutMs > 0) this.timer = setTimeout(this.expired, timeoutMs).unref();
  }

  /** The host sent Keep Alive. */
  refresh(): void {
    this.timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
