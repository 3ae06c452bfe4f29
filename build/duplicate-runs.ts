/** Counts the pairs of places in source files where six or more lines of code are equal. */
import ts from "typescript";

const LINES = 6;

/** The lines of code of a file: without imports, re-exports, comments, and lines of brackets only. */
function codeLines(text: string): string[] {
  const source = ts.createSourceFile("file.ts", text, ts.ScriptTarget.Latest);
  const code = source.statements
    .filter((statement) => !ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement))
    .map((statement) => statement.getText(source))
    .join("\n");
  return code
    .replace(/\/\*.*?\*\/|^\s*\/\/.*$/gms, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => /\w/.test(line));
}

/** Pairs of places: each counts once, however many lines it has. */
export function duplicateRuns(texts: ReadonlyMap<string, string>): number {
  const places = new Map<string, string[]>();
  for (const [file, text] of texts) {
    const lines = codeLines(text);
    for (let at = 0; at + LINES <= lines.length; at++) {
      const run = lines.slice(at, at + LINES).join("\n");
      places.set(run, [...(places.get(run) ?? []), `${file}:${at}`]);
    }
  }
  const pairs = new Set<string>();
  for (const found of places.values()) {
    for (const [place, a] of found.entries()) for (const b of found.slice(place + 1)) pairs.add(`${a} ${b}`);
  }
  // A pair that continues another isn't a pair of its own.
  const before = (pair: string): string => pair.replace(/:(\d+)/g, (_, at: string) => `:${Number(at) - 1}`);
  return [...pairs].filter((pair) => !pairs.has(before(pair))).length;
}
