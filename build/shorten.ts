/**
 * Makes bundled files shorter where nobody sees it: without indentation, and in declarations with one private member of a class
 * for all. Lines of code stay, since Node.js prints the line that threw. That is a fortieth of the tarball.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** @param folder of modules and declarations, without its subfolders */
export function shortenBundle(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!/\.(js|mjs|d\.ts)$/.test(name)) continue;
    const file = join(folder, name);
    const text = withoutIndentation(readFileSync(file, "utf8"));
    writeFileSync(file, name.endsWith(".d.ts") ? withoutPrivateMembers(text) : text);
  }
}

/** The text without blanks at the beginnings of lines, except inside template literals. */
function withoutIndentation(text: string): string {
  const kept = templateParts(text);
  return text.replace(/\n[ \t]+/g, (blanks, at: number) =>
    kept.some(([start, end]) => start <= at && at < end) ? blanks : "\n",
  );
}

/** Declarations without private members, of which a class keeps the first: that one makes objects of other classes unfit for its type. */
function withoutPrivateMembers(text: string): string {
  let isKept = false;
  const lines = text.split("\n").filter((line) => {
    if (/\bclass \w/.test(line)) isKept = false;
    if (!/^private [^()]*;$/.test(line)) return true;
    const isFirst = !isKept;
    isKept = true;
    return isFirst;
  });
  return lines.join("\n");
}

/** Where the texts of template literals are. */
function templateParts(text: string): (readonly [start: number, end: number])[] {
  const parts: (readonly [number, number])[] = [];
  const look = (node: ts.Node): void => {
    if (ts.isTemplateLiteralToken(node)) parts.push([node.getStart(), node.getEnd()]);
    else ts.forEachChild(node, look);
  };
  const source = ts.createSourceFile("bundle.ts", text, ts.ScriptTarget.ES2022, true);
  look(source);
  return parts.filter(([start, end]) => text.slice(start, end).includes("\n"));
}
