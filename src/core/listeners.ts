/** Listeners and event iterations: what registers one returns an object that ends it, and an AbortSignal can do the same. */
import { setMaxListeners } from "node:events";
import { checkFunction, checkKeys, show } from "./check.js";
import { ArgumentError } from "./errors.js";

/** Options of what calls a listener, or iterates over events. */
export interface ListenOptions {
  /** Ends it when it aborts: a listener isn't called any more, an iteration throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A registered listener. */
export interface Subscription extends Disposable {
  /** Ends it: the listener isn't called any more. Closing twice is allowed. */
  close(): void;
}

/** @throws ArgumentError if it is something else */
export function checkSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw new ArgumentError(`signal must be an AbortSignal, got ${show(signal)}`);
}

/** The signal of these options. @throws ArgumentError if they or it are something else */
export function signalOf(options: ListenOptions): AbortSignal | undefined {
  checkKeys("options", options, ["signal"]);
  return checkSignal(options.signal);
}

/** Signals whose number of listeners has no limit any more. */
const unlimited = new WeakSet<AbortSignal>();

/** Calls `listener` when `signal` aborts. One signal may end any number of waits: Node.js would warn of a leak from the 11th on. */
export function addAbortListener(signal: AbortSignal, listener: () => void): void {
  if (!unlimited.has(signal)) {
    unlimited.add(signal);
    setMaxListeners(0, signal);
  }
  signal.addEventListener("abort", listener, { once: true });
}

/**
 * Calls `end` when `signal` aborts, or now if it has.
 * @returns stops that. Call it when there is nothing left to end: a signal can outlive many listeners.
 */
export function onAbort(signal: AbortSignal | undefined, end: () => void): () => void {
  if (signal === undefined) return () => {};
  if (signal.aborted) end();
  else addAbortListener(signal, end);
  return () => signal.removeEventListener("abort", end);
}

/** The listeners of one kind of event. */
export class Listeners<T> {
  private readonly entries = new Set<{ readonly listener: (event: T) => void }>();

  /** @throws ArgumentError */
  add(listener: (event: T) => void, options: ListenOptions = {}): Subscription {
    checkFunction("listener", listener);
    const signal = signalOf(options);
    const { entries } = this;
    const entry = { listener };
    entries.add(entry);
    let forgetSignal = (): void => {};
    const close = (): void => {
      entries.delete(entry);
      forgetSignal();
    };
    forgetSignal = onAbort(signal, close);
    return { close, [Symbol.dispose]: close };
  }

  /** Calls each listener, except those that end meanwhile. @param isOver asked before each call */
  call(event: T, isOver: () => boolean): void {
    for (const entry of [...this.entries]) if (this.entries.has(entry) && !isOver()) entry.listener(event);
  }
}
