/**
 * Makes bundled files shorter where nobody sees it: code without blanks, in lines of a statement or more; declarations without
 * indentation, and with one private member of a class for all. Lines stay short, since Node.js prints the line that threw.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** A line of code ends at the first statement after this many characters, */
const STATEMENT_CHARACTERS = 120;
/** or at the first comma after this many: of a table, for example. */
const COMMA_CHARACTERS = 400;

/** @param folder of modules without line breaks and declarations, without its subfolders */
export function shortenBundle(folder: string): void {
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    if (/\.m?js$/.test(name)) writeFileSync(file, inLines(readFileSync(file, "utf8")));
    if (name.endsWith(".d.ts"))
      writeFileSync(file, withoutPrivateMembers(withoutIndentation(readFileSync(file, "utf8"))));
  }
}

/** Code with line breaks between statements, members of classes, or elements of lists. */
export function inLines(code: string): string {
  const statements = new Set<number>();
  const commas = new Set<number>();
  const look = (node: ts.Node): void => {
    const { end } = node;
    if (ts.isClassElement(node) || (ts.isStatement(node) && !ts.isBlock(node))) statements.add(end);
    else if (code[end] === ",") commas.add(end + 1);
    ts.forEachChild(node, look);
  };
  ts.forEachChild(ts.createSourceFile("bundle.js", code, ts.ScriptTarget.ES2022), look);
  const lines: string[] = [];
  let start = 0;
  for (const end of [...new Set([...statements, ...commas])].sort((a, b) => a - b)) {
    if (end - start <= (statements.has(end) ? STATEMENT_CHARACTERS : COMMA_CHARACTERS)) continue;
    lines.push(code.slice(start, end));
    start = end;
  }
  return [...lines, code.slice(start)].join("\n");
}

/**
 * Declarations without private members and what is said of them. A class keeps the first: that one makes objects of other classes
 * unfit for its type.
 */
function withoutPrivateMembers(text: string): string {
  let isKept = false;
  const kept: string[] = [];
  for (const line of text.split("\n")) {
    if (/\bclass \w/.test(line)) isKept = false;
    if (!/^private [^()]*;$/.test(line)) {
      kept.push(line);
      continue;
    }
    if (kept.at(-1)?.endsWith("*/") === true)
      kept.splice(kept.findLastIndex((each) => each.startsWith("/**")));
    if (!isKept) kept.push(line);
    isKept = true;
  }
  return kept.join("\n");
}

/** The text without blanks at the beginnings of lines. Declarations have no template literals of several lines. */
function withoutIndentation(text: string): string {
  return text.replace(/\n[ \t]+/g, "\n");
}
