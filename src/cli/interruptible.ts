/** Work that Ctrl-C or SIGTERM ends in order: between two steps, with everything undone. */
import { Interrupted } from "./binding/interrupted.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Does work, meanwhile signals abort it instead of ending the process. @throws what the work throws */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const scope = new AbortController();
  const note = (signal: NodeJS.Signals): void => scope.abort(new Interrupted(signal));
  for (const signal of SIGNALS) process.on(signal, note);
  try {
    return await work(scope.signal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, note);
  }
}
