/** Path and arguments of vitest, for the programs that start it. */

export const VITEST = "node_modules/vitest/vitest.mjs";

/** Reporters for the terminal, and for the totals in JSON. */
export function reporters(file: string): string[] {
  return ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
}
