/**
 * Prints the figures of docs/design/house.md about a checkout: `node dist/build/house-figures.js [FOLDER]`.
 * Sizes are in lines and files. Circles count type imports, too.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";
import { duplicateRuns } from "./duplicate-runs.js";
import { circlesOf, sourceGraph } from "./source-graph.js";

const root = process.argv[2] ?? ".";
const src = join(root, "src");
const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
const texts = new Map(files.map((file) => [file, readFileSync(join(src, file), "utf8")]));

/** The entry with the largest number. */
function largest(entries: Iterable<readonly [string, number]>): string {
  let best: readonly [string, number] = ["none", 0];
  for (const entry of entries) if (entry[1] > best[1]) best = entry;
  return `${best[1]} (${best[0]})`;
}

function folderSizes(): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const file of files) sizes.set(dirname(file), (sizes.get(dirname(file)) ?? 0) + 1);
  return sizes;
}

/** Lines of every class, from its first to its last. */
function classSizes(): [string, number][] {
  const sizes: [string, number][] = [];
  for (const [file, text] of texts) {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
    const visit = (node: ts.Node): void => {
      if (ts.isClassDeclaration(node)) {
        const line = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
        sizes.push([node.name?.text ?? "default", line(node.end) - line(node.getStart(source)) + 1]);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return sizes;
}

const lines = [...texts].map(([file, text]) => [file, text.split("\n").length - 1] as const);
const isSpec = (folder: string): boolean => folder.endsWith("spec");
const heads = [...texts.values()].filter((text) => /^(?:#!.*\n)?\/\*\*/.test(text)).length;
const names = new Set(
  [...(texts.get("index.ts") ?? "").matchAll(/[{,]\s*(?:type )?(?:\w+ as )?(\w+)/g)].map(([, name]) => name),
);
const figures: Readonly<Record<string, string | number>> = {
  "files in src": files.length,
  "largest folder, without spec tables": largest([...folderSizes()].filter(([name]) => !isSpec(name))),
  "largest file": largest(lines.filter(([file]) => !isSpec(dirname(file)))),
  "largest class": largest(classSizes()),
  "classes over 400 lines": classSizes().filter(([, size]) => size > 400).length,
  "circles of files": circlesOf(sourceGraph(src)).length,
  "pairs of places with six equal lines": duplicateRuns(
    new Map([...texts].filter(([file]) => !isSpec(dirname(file)))),
  ),
  "files that begin with what they are": `${heads} of ${files.length}`,
  "names at the root": names.size,
};
for (const [name, value] of Object.entries(figures)) process.stdout.write(`${name}: ${value}\n`);
