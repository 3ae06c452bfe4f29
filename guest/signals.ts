/** Signals that end a program, as an AbortSignal, so that it can clean up first. */
import { constants } from "node:os";

/** A program's own end. */
export interface Ending {
  /** Aborted by the first of SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** @returns the exit status that tells that signal; undefined if none came */
  readonly received: () => number | undefined;
}

/** Listens to the signals that ask a program to end. From now on they don't end it by themselves. */
export function abortOnSignals(): Ending {
  const controller = new AbortController();
  let status: number | undefined;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      status ??= 128 + constants.signals[name];
      controller.abort();
    });
  }
  return { signal: controller.signal, received: () => status };
}
