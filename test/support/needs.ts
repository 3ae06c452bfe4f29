/** What tests need of this machine beyond Node.js. `npm test` installs it where it may, so that CI skips nothing. */
import type { TestContext } from "vitest";
import { findProgram } from "../../guest/paths.js";

/** Skips a test, with the reason, where the machine lacks one of these programs. */
export function skipWithout(context: TestContext, ...programs: readonly string[]): void {
  const missing = programs.filter((name) => findProgram(name) === undefined);
  if (missing.length > 0) context.skip(`this machine has no ${missing.join(" and no ")}`);
}
