/** Steps on several functions, of which all are done or none: an error, Ctrl-C or SIGTERM in between undoes those before. */
import { setImmediate } from "node:timers/promises";
import { BindError } from "../../pci/bind.js";
import { Interrupted } from "./interrupted.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A step that is done. */
export interface Done {
  /** What it was done to. */
  readonly name: string;
  undo(): void;
}

/**
 * Does a step for each item, in order. Meanwhile signals don't end the process.
 * @throws what a step throws, Interrupted; BindError if undoing failed, too
 */
export async function allOrNone<T>(items: readonly T[], step: (item: T) => Done): Promise<void> {
  let received: NodeJS.Signals | undefined;
  const note = (signal: NodeJS.Signals): void => {
    received ??= signal;
  };
  for (const signal of SIGNALS) process.on(signal, note);
  const done: Done[] = [];
  try {
    for (const item of items) {
      done.push(step(item));
      // The event loop takes notice of signals, of which it is told only between steps.
      await setImmediate();
      if (received !== undefined) throw new Interrupted(received);
    }
  } catch (error) {
    undoAll(done, error);
    throw error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, note);
  }
}

/** @throws BindError */
function undoAll(done: readonly Done[], error: unknown): void {
  const left = done.toReversed().flatMap(({ name, undo }) => {
    try {
      undo();
      return [];
    } catch (failure) {
      return [`${name}: ${reasonOf(failure)}`];
    }
  });
  if (left.length > 0)
    throw new BindError(`${reasonOf(error)}; could not be undone: ${left.join("; ")}`, { cause: error });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
