/** A clock that a test moves: performance.now() of this thread, for code that measures how much time has passed. */
import { onTestFinished, vi } from "vitest";

export interface SkewedClock {
  /** Moves the clock. */
  advance(ms: number): void;
}

/** Until the end of the test, performance.now() is the real time plus what the test adds. */
export function skewClock(): SkewedClock {
  let skewMs = 0;
  const real = performance.now.bind(performance);
  const spy = vi.spyOn(performance, "now").mockImplementation(() => real() + skewMs);
  onTestFinished(() => {
    spy.mockRestore();
  });
  return {
    advance: (ms) => {
      skewMs += ms;
    },
  };
}
