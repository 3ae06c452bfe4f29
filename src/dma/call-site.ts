/**
 * Where buffers are made, for the warning about forgotten ones. A stack trace costs several times what a mapping costs,
 * so a program that makes buffers by the thousand gets one for some of them, and the rest name the last one taken.
 */

/** Traces taken at first; from then on ten a second at most, and no more of them than a hundredth of the time allows. */
const BURST = 1000;
const PAUSE_MS = 100;
/** Under emulation one takes ten milliseconds. */
const PAUSE_PER_COST = 100;
/** A look at the clock costs as well: one for so many buffers without a trace. */
const LOOK_EVERY = 64;
const FRAMES = 5;

let left = BURST;
let untilLook = LOOK_EVERY;
let nextAt = 0;
let latest = "";

/** The stack of the caller of `below`. In a burst, the last stack that was taken, with a note that says so. */
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
  // Made a string at once: unformatted frames would keep their receivers, and so the buffer itself, alive.
  const site = (holder.stack ?? "").split("\n").slice(1).join("\n");
  latest = `    (one of many made at once; the last place that was noted is)\n${site}`;
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
