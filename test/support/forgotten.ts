/** For tests that forget resources on purpose: collects the warnings, and drops objects. */
import { afterEach, beforeEach } from "vitest";
import { collectUntil } from "./gc.js";

export interface ForgottenWarnings {
  /** Messages since the test began, or since clear(). */
  readonly messages: readonly string[];
  clear(): void;
  /** Collects garbage until a warning matches. @returns whether one did */
  warned(pattern: RegExp): Promise<boolean>;
}

/** In every test of the file or describe block, the process's warnings go only to the test. */
export function useForgottenWarnings(): ForgottenWarnings {
  const messages: string[] = [];
  const listen = (warning: Error & { code?: unknown }): void => {
    if (warning.code === "IOVA_FORGOTTEN") messages.push(warning.message);
  };
  let others: ((warning: Error) => void)[] = [];
  beforeEach(() => {
    messages.length = 0;
    others = process.listeners("warning");
    process.removeAllListeners("warning");
    process.on("warning", listen);
  });
  afterEach(() => {
    process.off("warning", listen);
    for (const other of others) process.on("warning", other);
  });
  return {
    messages,
    clear: () => {
      messages.length = 0;
    },
    warned: (pattern) => collectUntil(() => messages.some((message) => pattern.test(message))),
  };
}

/** Calls `make` in a separate function, so that no stack slot keeps the result. */
export function drop(make: () => unknown): void {
  make();
}

/** Collects all garbage, and lets finalizers run. */
export async function collectAll(rounds = 5): Promise<void> {
  let done = 0;
  await collectUntil(() => ++done >= rounds);
}
