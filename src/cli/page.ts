/** The shell of the pages that commands write: self-contained, no script, no network, light and dark colours. */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { asError, ConfigError, IovaError } from "../core/errors.js";
import { escapeHtml } from "./compare/charts.js";

const STYLE = `
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2330; --soft: #5b6777; --line: #dde2e9; --grid: #e8ecf1;
  --main: #2563c9; --good: #197a43; --bad: #c02626; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161c; --card: #1a2028; --ink: #e4e9f0; --soft: #98a4b3; --line: #2d3642; --grid: #272f3a;
  --main: #6ea3f5; --good: #5fc98a; --bad: #f08080; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
header p { margin: 0; color: var(--soft); }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 4px; }
h3 { font-size: 15px; font-weight: 600; margin: 0 0 8px; }
h2 + p { margin: 0 0 14px; color: var(--soft); max-width: 78ch; }
section.card { margin-top: 14px; }
section.card, figure, .found { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.found { padding: 18px 22px 18px 40px; margin: 16px 0 0; border-left: 4px solid var(--good); }
.found li { margin: 5px 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 18px; }
figure { margin: 0; padding: 16px 18px 12px; min-width: 0; }
svg { display: block; width: 100%; height: auto; font: 12.5px system-ui, sans-serif; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; margin: 0; padding: 18px 22px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 14px; padding: 0; list-style: none; font-size: 14px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px; background: currentColor; }
.legend b { font-weight: 500; color: var(--ink); }
.scroll { overflow-x: auto; padding: 4px 18px 10px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px 7px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } tr:last-child td { border-bottom: 0; }
th.text, td.text { text-align: left; } td.wide { white-space: normal; min-width: 11em; }
td.no { color: var(--soft); } td.yes { color: var(--good); font-weight: 500; } td.bad { color: var(--bad); font-weight: 600; }
.missing { color: var(--soft); font-size: 14px; padding: 14px 22px 14px 38px; margin: 0; }
.grid { stroke: var(--grid); } .tick { fill: var(--soft); } .name, .value { fill: var(--ink); }
.whisker { stroke: var(--ink); stroke-opacity: .55; fill: none; }
.series polyline { fill: none; stroke: currentColor; stroke-width: 2.2; stroke-linejoin: round; }
.series polygon { fill: currentColor; opacity: .15; stroke: none; } .series circle { fill: currentColor; stroke: var(--card); stroke-width: 1.5; }
.bar { fill: currentColor; } .bar.added { opacity: .38; }
.main { color: var(--main); }
footer { margin-top: 44px; color: var(--soft); font-size: 14px; }
@media print { body { background: none; } main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
`;

export interface Page {
  readonly title: string;
  /** Below the title. */
  readonly subtitle: string;
  /** HTML; empty parts are left out. */
  readonly parts: readonly string[];
  /** More rules for the style sheet. */
  readonly style?: string;
}

export function page({ title, subtitle, parts, style = "" }: Page): string {
  const body = [
    `<header><h1>${escapeHtml(title)}</h1><p>${escapeHtml(subtitle)}</p></header>`,
    ...parts.filter((part) => part !== ""),
  ];
  return (
    `<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n` +
    `<meta name="viewport" content="width=device-width, initial-scale=1"/>\n` +
    `<title>${escapeHtml(title)}</title>\n<style>${STYLE}${style}</style>\n</head>\n<body>\n<main>\n${body.join("\n")}` +
    "\n</main>\n</body>\n</html>\n"
  );
}

export function heading(title: string, explanation = ""): string {
  return `<h2>${escapeHtml(title)}</h2>${explanation === "" ? "" : `<p>${escapeHtml(explanation)}</p>`}`;
}

export function figure(title: string, chart: string): string {
  return `<figure><h3>${escapeHtml(title)}</h3>${chart}</figure>`;
}

export function columns(figures: readonly string[]): string {
  return `<div class="columns">${figures.join("")}</div>`;
}

/** A card of names and values. */
export function factList(entries: readonly (readonly [name: string, value: string])[]): string {
  const items = entries.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`);
  return `<section class="card"><dl>${items.join("")}</dl></section>`;
}

/** Classes of cells by their text. */
const marks: Readonly<Record<string, string>> = {
  yes: "yes",
  no: "no",
  pass: "yes",
  fail: "bad",
  "not applicable": "no",
};

/** A card with a table. @param textColumns how many columns are aligned to the left; those after them to the right */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  textColumns: number,
): string {
  const cell = (tag: string, text: string, i: number, more = ""): string => {
    const classes = [i < textColumns ? "text" : "", more].filter((name) => name !== "").join(" ");
    return `<${tag}${classes === "" ? "" : ` class="${classes}"`}>${escapeHtml(text)}</${tag}>`;
  };
  const head = header.map((text, i) => cell("th", text, i)).join("");
  const mark = (text: string): string => marks[text] ?? (text.length > 24 ? "wide" : "");
  const body = rows.map(
    (row) => `<tr>${row.map((text, i) => cell("td", text, i, mark(text))).join("")}</tr>`,
  );
  return `<section class="card"><div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div></section>`;
}

/** `2026-11-30 12:00 UTC`, of a date as ISO text. */
export function day(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;
}

/** Called before a measurement, which can take long. @throws ConfigError */
export function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, "a"));
  } catch (error) {
    throw new ConfigError(`--html: ${asError(error).message}`, { cause: error });
  }
}

/**
 * Writes a file that an option names.
 * @throws ConfigError: it can't be opened; IovaError: it can't be written, as on a full disk
 */
export function writeNamed(option: string, file: string, text: string): void {
  let fd: number;
  try {
    fd = openSync(file, "w");
  } catch (error) {
    throw new ConfigError(`${option}: ${asError(error).message}`, { cause: error });
  }
  try {
    writeFileSync(fd, text);
  } catch (error) {
    throw new IovaError("ERR_IOVA_FILE", `${option}: writing ${file}: ${asError(error).message}`, {
      cause: error,
    });
  } finally {
    closeSync(fd);
  }
}
