/** What the suites came to: the totals, and what else went wrong. */
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { unhandledErrorsFile } from "./unhandled-errors.js";

/** The parts of vitest's JSON report used here. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly status: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

function isReport(value: unknown): value is Report {
  return typeof value === "object" && value !== null && "numPassedTests" in value && "testResults" in value;
}

/** What `UnhandledErrors` writes. */
interface Unhandled {
  readonly reason: string;
  readonly texts: readonly string[];
  readonly skipped: readonly string[];
}

function isUnhandled(value: unknown): value is Unhandled {
  return (
    typeof value === "object" && value !== null && "reason" in value && "texts" in value && "skipped" in value
  );
}

/** The end of a long log is all that many people see of it, so each problem there says enough, and no more. */
function head(message = ""): string {
  return message.split("\n").slice(0, 6).join("\n    ");
}

/** What failed, each with the head of its message. */
function failures({ testResults }: Report): string[] {
  return testResults.flatMap(({ name, message, status, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === "failed");
    const file = relative(process.cwd(), name);
    if (status === "failed" && failed.length === 0) return [`${file}: ${head(message)}`];
    return failed.map((test) => `${file}: ${test.fullName}\n    ${head(test.failureMessages?.[0])}`);
  });
}

export class Verdict {
  private readonly totals = { passed: 0, failed: 0, skipped: 0 };
  private readonly problems: string[] = [];
  private readonly skipped: string[] = [];

  problem(...texts: readonly string[]): void {
    this.problems.push(...texts);
  }

  /** Adds a vitest run's report to the totals. A run without one is a failure. */
  count(suite: string, file: string): void {
    try {
      const report: unknown = JSON.parse(readFileSync(file, "utf8"));
      if (!isReport(report)) throw new Error("not a vitest report");
      this.totals.passed += report.numPassedTests;
      this.totals.failed += report.numFailedTests;
      this.totals.skipped += report.numPendingTests + report.numTodoTests;
      this.problem(...failures(report));
      if (report.numPassedTests === 0) this.problem(`${suite} ran no test`);
      const unhandled: unknown = JSON.parse(readFileSync(unhandledErrorsFile(file), "utf8"));
      if (!isUnhandled(unhandled)) throw new Error("not a list of unhandled errors");
      this.problem(...unhandled.texts.map((text) => `${suite}, outside its tests: ${head(text)}`));
      this.skipped.push(...unhandled.skipped);
      if (unhandled.reason === "interrupted") this.problem(`${suite} was interrupted`);
    } catch (error) {
      this.problem(`${suite} left no report: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Prints what was skipped and why, problems, and totals, these on the last line. @returns whether all is well */
  conclude({ maySkip }: { readonly maySkip: boolean }): boolean {
    const { passed, failed, skipped } = this.totals;
    if (!maySkip && skipped > 0) this.problem("in CI nothing may be skipped");
    for (const test of this.skipped) process.stdout.write(`skipped: ${test}\n`);
    for (const problem of this.problems) process.stdout.write(`problem: ${problem}\n`);
    process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
    return this.problems.length === 0 && failed === 0;
  }
}
