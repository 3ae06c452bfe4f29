/** The report of `iova nvme conform` as text, JSON and a page. */
import { escapeHtml } from "../../compare/charts.js";
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

const STYLE = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3em .8em .3em 0;border-bottom:1px solid #8884;vertical-align:top}
.fail{color:#c22;font-weight:600}.pass{color:#197a43}.not{opacity:.6}`;

/** A self-contained page, without a script. */
export function reportHtml(report: ConformReport): string {
  const cells = (values: readonly string[], tag: string): string =>
    values.map((value) => `<${tag}>${escapeHtml(value)}</${tag}>`).join("");
  const row = ({ name, section, result, found = "" }: CheckResult): string =>
    `<tr><td class="${result.replace(" applicable", "")}">${result}</td>${cells([name, found, section], "td")}</tr>`;
  const subjects = [...new Set(report.results.map(({ subject }) => subject))];
  const tables = subjects.map((subject) => {
    const rows = report.results.filter((each) => each.subject === subject).map(row);
    const head = `<tr>${cells(["Result", "Check", "Found", "Specification"], "th")}</tr>`;
    return `<h2>${escapeHtml(subject)}</h2><table>${head}${rows.join("")}</table>`;
  });
  const title = `NVMe conformance of ${report.target}`;
  return `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title><style>${STYLE}</style></head>
<body><h1>${escapeHtml(title)}</h1><p>${escapeHtml(summary(report))}</p>${tables.join("")}</body></html>
`;
}
