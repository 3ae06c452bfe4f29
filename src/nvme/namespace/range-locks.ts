/** Lets operations on overlapping blocks run one after the other, in the order in which they were asked for. */

interface Held {
  readonly first: number;
  readonly last: number;
  readonly isWrite: boolean;
  readonly done: Promise<void>;
}

/** The operations under way on one range of blocks. */
export class RangeLocks {
  private readonly held = new Set<Held>();

  /**
   * Runs `action` after all earlier operations on these blocks; reads don't wait for reads.
   * @param first first block, and `last` the last one
   * @throws what `action` throws, as a rejection
   */
  async run<T>(first: number, last: number, isWrite: boolean, action: () => Promise<T>): Promise<T> {
    const before: Promise<void>[] = [];
    for (const other of this.held) {
      const overlaps = other.first <= last && first <= other.last;
      if (overlaps && (isWrite || other.isWrite)) before.push(other.done);
    }
    let end = (): void => {};
    const done = new Promise<void>((resolve) => {
      end = resolve;
    });
    const own = { first, last, isWrite, done };
    this.held.add(own);
    try {
      if (before.length > 0) await Promise.all(before);
      return await action();
    } finally {
      this.held.delete(own);
      end();
    }
  }

  /** Resolves when what is under way now has ended. */
  async idle(): Promise<void> {
    await Promise.all([...this.held].map(({ done }) => done));
  }
}
