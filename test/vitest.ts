export const VITEST = "node_modules/vitest/vitest.mjs";

/** For people, and for the totals. */
export function reporters(file: string): string[] {
  return ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
}
