/** The report of `iova nvme conform` as text, JSON and a page. */
import { heading, page, table } from "../../page.js";
import type { Json } from "../output.js";
import type { CheckResult } from "./run.js";

export interface ConformReport {
  readonly target: string;
  readonly results: readonly CheckResult[];
}

const kinds = ["fail", "pass", "not applicable"] as const;

function countsOf({ results }: ConformReport): Record<(typeof kinds)[number], number> {
  const count = (kind: string): number => results.filter(({ result }) => result === kind).length;
  return { pass: count("pass"), fail: count("fail"), "not applicable": count("not applicable") };
}

/** `150 checks: 2 failed, 140 passed, 8 not applicable`. */
export function summary(report: ConformReport): string {
  const { pass, fail, "not applicable": other } = countsOf(report);
  return `${report.results.length} checks: ${fail} failed, ${pass} passed, ${other} not applicable`;
}

/** A line of the text. */
export function resultLine({ subject, name, section, result, found }: CheckResult): string {
  const mark = { pass: "pass", fail: "FAIL", "not applicable": "n/a " }[result];
  const more = found === undefined ? "" : `: ${found}`;
  return `${mark}  ${subject}: ${name}${more}${result === "fail" ? ` [${section}]` : ""}`;
}

export function reportJson(report: ConformReport): Json {
  const { pass, fail, "not applicable": other } = countsOf(report);
  const checks = report.results.map((result): Json => ({ ...result }));
  return { target: report.target, passed: pass, failed: fail, not_applicable: other, checks };
}

/** A self-contained page, without a script. */
export function reportHtml(report: ConformReport): string {
  const subjects = [...new Set(report.results.map(({ subject }) => subject))];
  const parts = subjects.flatMap((subject) => {
    const own = report.results.filter((each) => each.subject === subject);
    const rows = own.map(({ result, name, found = "", section }) => [result, name, found, section]);
    return [heading(subject), table(["Result", "Check", "Found", "Specification"], rows, 4)];
  });
  return page({ title: `NVMe conformance of ${report.target}`, subtitle: summary(report), parts });
}
