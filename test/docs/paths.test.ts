/**
 * Pages of the package name only files and commands that its users have. What only the repository has is named in a paragraph that
 * says so.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { linksIn, pages, readPage } from "./markdown.js";

const root = packageRoot();
const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { files: string[] };

/** Whether npm packs a path, by the patterns of package.json. */
function isPacked(path: string): boolean {
  const covers = (pattern: string): boolean =>
    path === pattern ||
    path.startsWith(`${pattern}/`) ||
    new RegExp(`^${pattern.replace(/[.*]/g, (char) => (char === "*" ? "[^/]*" : "\\."))}$`).test(path);
  return (
    files.some((pattern) => !pattern.startsWith("!") && covers(pattern)) &&
    !files.some((pattern) => pattern.startsWith("!") && covers(pattern.slice(1)))
  );
}

const packed = [...pages(), "examples/README.md"].filter((page) => isPacked(page));
/** For those who have a checkout. */
const forContributors = "CONTRIBUTING.md";
/** Its paths are those of the package that the reader makes. */
const aboutOwnPackage = "docs/first-driver.md";
const folders = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
  .map(({ name }) => name)
  .filter((name) => name !== "node_modules");
const pathsOf = new RegExp(`(?<![\\w/.-])(?:${folders.join("|")})/[\\w./*-]*\\w/?`, "g");

/**
 * Paragraphs with the fence that they announce, items of lists, and rows of tables with their header; without links and addresses,
 * and without what says that it is about the repository.
 */
function partsOf(text: string): string[] {
  return text
    .replaceAll(/\]\([^)]*\)/g, "]")
    .replaceAll(/https?:\S+/g, "")
    .replaceAll(/:\n+```/g, ":\n```")
    .split(/\n\s*\n|\n(?=- |\d+\. )/)
    .flatMap((part) => {
      const [header = "", ...rows] = part.split("\n");
      return header.startsWith("|") ? rows.map((row) => `${header}\n${row}`) : [part];
    })
    .filter((part) => !/\b(?:repository|checkout)\b/i.test(part));
}

test.each(packed.filter((page) => page !== forContributors))(
  "%s names no file and no script that only the repository has, unless it says so",
  (page) => {
    const text = readPage(page);
    const found: string[] = [];
    for (const part of page === aboutOwnPackage ? [] : partsOf(text)) {
      const paths = part.match(pathsOf) ?? [];
      found.push(...paths.filter((path) => !isPacked(path.replace(/\/$/, ""))));
      found.push(...(part.match(/\bnpm (?:run [\w:-]+|test\b|ci\b)/g) ?? []));
    }
    const linked = linksIn(text).map((target) =>
      relative(root, join(root, dirname(page), target.split("#")[0] ?? "")),
    );
    found.push(...linked.filter((path) => path !== "" && existsSync(join(root, path)) && !isPacked(path)));
    expect(found).toEqual([]);
  },
);
