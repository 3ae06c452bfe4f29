/**
 * A reporter for vitest. Writes the errors that no test caught, and why the run ended, beside the JSON report, which doesn't
 * hold them: an error outside a test, or a worker that crashed, fails a run of which all tests passed.
 */
import { writeFileSync } from "node:fs";
import type { Reporter } from "vitest/node";

/** The file that goes with a JSON report. */
export function unhandledErrorsFile(report: string): string {
  return `${report}.unhandled`;
}

type Started = Parameters<NonNullable<Reporter["onInit"]>>[0];

export default class UnhandledErrors implements Reporter {
  private report: string | undefined;

  onInit({ config: { outputFile } }: Started): void {
    this.report = typeof outputFile === "object" ? outputFile["json"] : outputFile;
  }

  onTestRunEnd: NonNullable<Reporter["onTestRunEnd"]> = (_modules, errors, reason) => {
    if (this.report === undefined) return;
    const texts = errors.map(({ message, stack, cause }) => {
      const why: unknown = cause;
      return `${message}${why instanceof Error ? `: ${why.message}` : ""}\n${stack ?? ""}`;
    });
    writeFileSync(unhandledErrorsFile(this.report), JSON.stringify({ reason, texts }));
  };
}
