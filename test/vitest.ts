/** Path and arguments of vitest, for the programs that start it. */
import { resolve } from "node:path";

export const VITEST = "node_modules/vitest/vitest.mjs";

/** Reporters for the terminal, for the totals in JSON, and for the errors that no test caught. */
export function reporters(file: string): string[] {
  return ["default", "json", resolve("test/unhandled-errors.ts")]
    .map((name) => `--reporter=${name}`)
    .concat(`--outputFile.json=${file}`);
}
