/**
 * The stack trace of a buffer's creation, for the warning about forgotten buffers. A trace costs several times as much as a
 * mapping. So a program that creates thousands of buffers gets traces of some; the others show the last trace taken.
 */

/** Number of traces without a limit. Later ones take at most a hundredth of the time, and there are at most ten a second. */
const BURST = 1000;
const PAUSE_MS = 100;
/** Pause after a trace, in multiples of its duration. Under emulation a trace takes ten milliseconds. */
const PAUSE_PER_COST = 100;
/** Buffers without a trace between two reads of the clock, which are expensive as well. */
const LOOK_EVERY = 64;
const FRAMES = 5;

let left = BURST;
let untilLook = LOOK_EVERY;
let nextAt = 0;
let latest = "";

/** Stack trace of the caller of `below`. In a burst: the last trace taken, with a note. */
export function callSite(below: (...args: never[]) => unknown): string {
  return left === 0 && !refill() ? latest : take(below);
}

function take(below: (...args: never[]) => unknown): string {
  left--;
  const before = performance.now();
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = FRAMES;
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, below);
  Error.stackTraceLimit = limit;
  // Formatted at once: unformatted frames would keep their receivers, and so the buffer, alive.
  const site = (holder.stack ?? "").split("\n").slice(1).join("\n");
  latest = `    (one of many created at once; the last recorded place is)\n${site}`;
  const after = performance.now();
  nextAt = after + Math.max(PAUSE_MS, PAUSE_PER_COST * (after - before));
  return site;
}

function refill(): boolean {
  if (--untilLook > 0) return false;
  untilLook = LOOK_EVERY;
  if (performance.now() < nextAt) return false;
  left = 1;
  return true;
}
