/** What tests of forgotten objects need: the warnings for themselves, and a way to drop an object. */
import { afterEach, beforeEach } from "vitest";
import { collectUntil } from "./gc.js";

export interface ForgottenWarnings {
  /** Messages since the test began, or since clear(). */
  readonly messages: readonly string[];
  clear(): void;
  /** Collects garbage until there is such a warning. */
  warned(pattern: RegExp): Promise<boolean>;
}

/** In every test of the file or describe block the process's warnings go to the test, and nowhere else. */
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

/** Makes something in a function of its own, so that nothing on a stack keeps it. */
export function drop(make: () => unknown): void {
  make();
}

/** Often enough for anything that can be collected to be. */
export async function collectAll(): Promise<void> {
  let rounds = 0;
  await collectUntil(() => ++rounds > 4);
}
