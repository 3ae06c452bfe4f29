/** Waits for a register's value, by polling or at each interrupt. */

import { checkFunction, checkInteger, checkKeys, MAX_TIMER_MS } from "../core/check.js";
import { DeviceGoneError, TimeoutError } from "../core/errors.js";
import { checkSignal, onAbort, type Subscription } from "../core/listeners.js";

/** Options of {@link ReadableRegister.until}. */
export interface WaitOptions {
  /** The limit in milliseconds. */
  readonly timeoutMs: number;
  /** Time between two reads in milliseconds, 1 by default. With 0, each turn of the event loop reads. */
  readonly everyMs?: number | undefined;
  /**
   * Reads when this calls `again`, in place of polling: `wake: (again) => interrupts.watch(0, again)`. What it returns is
   * closed at the end. The register is also read twice a second, in case an interrupt was lost or the device has closed.
   */
  readonly wake?: ((again: () => void) => Pick<Subscription, "close">) | undefined;
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What is waited for. */
export interface Awaited<V> {
  /** @throws as the access does */
  read(): V;
  isMet(value: V): boolean;
  /** Aborts when the device goes; asked once. */
  deviceSignal(): AbortSignal | undefined;
  /** The device answers nothing but all ones. */
  isGone(value: V): boolean;
  /** Names the register and what it should be. */
  describe(value: V): string;
}

/** How often a wait for interrupts reads all the same: it finds a lost interrupt, and a device that has closed. */
const WAKE_CHECK_MS = 500;

/** The outcome of a wait stands, even if something can't be ended. */
function runEnd(end: () => void): void {
  try {
    end();
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error));
  }
}

/** @throws as a rejection: ArgumentError, TimeoutError, DeviceGoneError, the signal's reason, and what the access throws */
export function waitFor<V>(
  { read, isMet, deviceSignal, isGone, describe }: Awaited<V>,
  options: WaitOptions,
): Promise<V> {
  return new Promise((resolve, reject) => {
    checkKeys("the options of until()", options, ["timeoutMs", "everyMs", "wake", "signal"]);
    const { timeoutMs, everyMs = 1, wake, signal } = options;
    if (wake !== undefined) checkFunction("wake", wake);
    checkSignal(signal);
    checkInteger("timeoutMs", timeoutMs, 0, MAX_TIMER_MS);
    checkInteger("everyMs", everyMs, 0, MAX_TIMER_MS);
    signal?.throwIfAborted();
    const start = performance.now();
    const ends: (() => void)[] = [];
    let isOver = false;
    const settle = (how: () => void): void => {
      isOver = true;
      for (const end of ends.splice(0)) runEnd(end);
      how();
    };
    const look = (isLast: boolean): void => {
      if (isOver) return;
      try {
        const value = read();
        // All ones meet most conditions.
        if (isGone(value)) settle(() => reject(new DeviceGoneError(describe(value))));
        else if (isMet(value)) settle(() => resolve(value));
        else if (isLast) settle(() => reject(new TimeoutError(describe(value), timeoutMs)));
      } catch (error) {
        settle(() => reject(error));
      }
    };
    /** Runs `end` with the wait, or now if that is over. */
    const atEnd = (end: () => void): void => {
      if (isOver) runEnd(end);
      else ends.push(end);
    };
    look(timeoutMs === 0);
    // The test of the value may have aborted the signal.
    if (signal?.aborted === true) settle(() => reject(signal.reason));
    if (isOver) return;
    const limit = setTimeout(() => look(true), timeoutMs);
    atEnd(() => clearTimeout(limit));
    try {
      for (const each of [signal, deviceSignal()])
        atEnd(onAbort(each, () => settle(() => reject(each?.reason))));
    } catch (error) {
      settle(() => reject(error));
    }
    if (isOver) return;
    if (wake !== undefined) {
      try {
        const watch = wake(() => look(false));
        checkFunction("close of what wake returns", Reflect.get(Object(watch), "close"));
        atEnd(() => watch.close());
      } catch (error) {
        settle(() => reject(error));
      }
      // An interrupt before the watch may have gone to another listener.
      look(false);
      const timer = setInterval(() => look(false), WAKE_CHECK_MS);
      atEnd(() => clearInterval(timer));
    } else if (everyMs > 0) {
      const timer = setInterval(() => look(false), everyMs);
      atEnd(() => clearInterval(timer));
    } else {
      const again = (): void => {
        look(performance.now() - start >= timeoutMs);
        if (!isOver) setImmediate(again);
      };
      setImmediate(again);
    }
  });
}
