/** What a check of `iova nvme conform` is. */
import type { ConformBench } from "./bench.js";

/** One check. */
export interface Check {
  /** A sentence that holds for a conforming controller. */
  readonly name: string;
  /** The specification and the title of its section. */
  readonly section: string;
  /** Throws if the sentence doesn't hold, or doesn't apply. @returns what was found, for the report */
  readonly run: (bench: ConformBench) => Promise<string | undefined> | string | undefined;
  /** It changes the data of the namespace. */
  readonly destroys: boolean;
}

/** Checks of one subject. */
export interface Subject {
  readonly subject: string;
  readonly checks: readonly Check[];
}

type Run = (bench: ConformBench) => unknown;
/** A check as it is written: its name, its section, and what it does. */
export type Row = readonly [name: string, section: string, run: Run];

const found = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** Makes the checks of a subject. @param destructive rows of checks that change data */
export function subjectOf(subject: string, rows: readonly Row[], destructive: readonly Row[] = []): Subject {
  const checks = [...rows, ...destructive].map(([name, section, run], at) => ({
    name,
    section,
    run: async (bench: ConformBench) => found(await run(bench)),
    destroys: at >= rows.length,
  }));
  return { subject, checks };
}
