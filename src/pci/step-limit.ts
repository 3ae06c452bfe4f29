/** The time limit of steps that the kernel or a driver may wait in. */
import { checkInteger, MAX_TIMER_MS } from "../core/check.js";

/** In milliseconds, unless the caller gives another. */
const STEP_TIMEOUT_MS = 30_000;

/** @returns milliseconds @throws ArgumentError */
export function stepLimit({
  timeoutMs = STEP_TIMEOUT_MS,
}: {
  readonly timeoutMs?: number | undefined;
}): number {
  return checkInteger("timeoutMs", timeoutMs, 1, MAX_TIMER_MS);
}
