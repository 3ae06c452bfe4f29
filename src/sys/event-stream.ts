/** Events of a descriptor as an async iterator. */
import { StateError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import { addAbortListener, type ListenOptions, signalOf } from "../core/listeners.js";
import { type Watch, watchReadable } from "./watch.js";

/**
 * Events of a descriptor as an async iterator. It doesn't read ahead: unread events stay in the kernel's queue, which has its
 * own limits. Waiting keeps the process alive. The iteration ends when the descriptor's owner closes.
 */
export class EventStream<T> implements AsyncIterableIterator<T> {
  private buffered: T[] = [];
  private waiting:
    | { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void }
    | undefined;
  private watch: Watch | undefined;
  private readonly signal: AbortSignal | undefined;
  /** The signals of the wait under way. */
  private ends: readonly AbortSignal[] = [];
  /** Whether the signal's reason was thrown, which happens only once. */
  private isAbortTold = false;

  /**
   * @param read takes the events that the kernel has now; an empty list if there are none
   * @param more asked at each wait for further signals that end the iteration
   */
  constructor(
    private readonly fd: number,
    private readonly owner: Lease,
    private readonly read: () => T[],
    options: ListenOptions = {},
    private readonly more: () => readonly AbortSignal[] = () => [],
  ) {
    this.signal = signalOf(options);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event. Wait for one before calling this again. */
  next(): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      if (this.waiting !== undefined) {
        reject(new StateError("one event of a stream can be waited for at a time"));
        return;
      }
      if (this.owner.closed || this.isAbortTold) {
        resolve({ done: true, value: undefined });
        return;
      }
      this.ends = this.signal === undefined ? this.more() : [this.signal, ...this.more()];
      const aborted = this.ends.find((signal) => signal.aborted);
      if (aborted !== undefined) {
        this.isAbortTold = true;
        reject(aborted.reason);
        return;
      }
      const event = this.take();
      if (event !== undefined) {
        resolve({ done: false, value: event });
        return;
      }
      // This throws if another stream waits. A later call may then still succeed.
      this.watch = watchReadable(this.fd, this.owner, this.onReadable, this.onClosed);
      this.waiting = { resolve, reject };
      for (const signal of this.ends) addAbortListener(signal, this.onAbort);
    });
  }

  /** Ends the iteration, and drops the events that next() hasn't returned. */
  return(): Promise<IteratorResult<T>> {
    this.buffered = [];
    this.watch?.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  private take(): T | undefined {
    if (this.buffered.length === 0) this.buffered = this.read();
    return this.buffered.shift();
  }

  /** Takes an event that is here for the call of next() that waits: a blocked event loop tells of it late. */
  look(): void {
    this.onReadable();
  }

  private readonly onReadable = (): void => {
    const { waiting } = this;
    if (waiting === undefined) return;
    try {
      const event = this.take();
      if (event === undefined) return;
      this.waiting = undefined;
      this.watch?.close();
      waiting.resolve({ done: false, value: event });
    } catch (error) {
      this.waiting = undefined;
      this.watch?.close();
      waiting.reject(error);
    }
  };

  private readonly onAbort = (): void => {
    const { waiting } = this;
    this.waiting = undefined;
    this.isAbortTold = true;
    this.watch?.close();
    waiting?.reject(this.ends.find((signal) => signal.aborted)?.reason);
  };

  private readonly onClosed = (): void => {
    this.watch = undefined;
    for (const signal of this.ends) signal.removeEventListener("abort", this.onAbort);
    this.waiting?.resolve({ done: true, value: undefined });
    this.waiting = undefined;
  };
}
