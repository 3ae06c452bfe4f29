/** Asynchronous calls one after another, in the order in which they were made. */
export class Turns {
  /** Ends with the last call. */
  private last: Promise<void> = Promise.resolve();
  private count = 0;

  /** Whether a call runs or waits. */
  get isTaken(): boolean {
    return this.count > 0;
  }

  /** Runs `action` after those before it, whatever became of them. @throws as a rejection: as the action */
  async take(action: () => Promise<void>): Promise<void> {
    const before = this.last;
    const own = (async () => {
      await before;
      await action();
    })();
    this.last = own.catch(() => {});
    this.count++;
    try {
      await own;
    } finally {
      this.count--;
    }
  }
}
