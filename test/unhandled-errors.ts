/**
 * A reporter for vitest. Writes what the JSON report doesn't hold beside it: the errors that no test caught, why the run ended, and
 * why tests were skipped. An error outside a test, or a worker that crashed, fails a run of which all tests passed.
 */
import { writeFileSync } from "node:fs";
import type { Reporter, TestModule } from "vitest/node";

/** The file that goes with a JSON report. */
export function unhandledErrorsFile(report: string): string {
  return `${report}.unhandled`;
}

type Started = Parameters<NonNullable<Reporter["onInit"]>>[0];

/** Tests that didn't run, each with its reason. */
function skippedIn(module: TestModule): string[] {
  return [...module.children.allTests("skipped")].map((test) => {
    const result = test.result();
    const note = result.state === "skipped" ? result.note : undefined;
    return `${test.fullName}: ${note ?? "no reason is given"}`;
  });
}

export default class UnhandledErrors implements Reporter {
  private report: string | undefined;

  onInit({ config: { outputFile } }: Started): void {
    this.report = typeof outputFile === "object" ? outputFile["json"] : outputFile;
  }

  onTestRunEnd: NonNullable<Reporter["onTestRunEnd"]> = (modules, errors, reason) => {
    if (this.report === undefined) return;
    const texts = errors.map(({ message, stack, cause }) => {
      const why: unknown = cause;
      return `${message}${why instanceof Error ? `: ${why.message}` : ""}\n${stack ?? ""}`;
    });
    writeFileSync(
      unhandledErrorsFile(this.report),
      JSON.stringify({ reason, texts, skipped: modules.flatMap(skippedIn) }),
    );
  };
}
