/** Reads the project's pages: which there are, and the fenced blocks in them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../guest/paths.js";

/** A fenced block of code in a page. */
export interface Fence {
  /** The page, relative to the checkout. */
  readonly page: string;
  /** Line of the block's first line of code, from 1. */
  readonly line: number;
  /** The first word of the info string: ts, js, sh, ... */
  readonly language: string;
  /** The other words of the info string. CONTRIBUTING.md says what they mean. */
  readonly words: readonly string[];
  readonly code: string;
}

/** README.md, CONTRIBUTING.md and all pages of docs/, relative to the checkout; not the generated reference. */
export function pages(): string[] {
  const docs = readdirSync(join(packageRoot(), "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md") && !name.startsWith("api/"))
    .map((name) => join("docs", name))
    .sort();
  return ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...docs];
}

export function readPage(page: string): string {
  return readFileSync(join(packageRoot(), page), "utf8");
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsIn(text: string): Set<string> {
  const found = new Set<string>();
  for (const [, title = ""] of text.matchAll(/^#+ (.+)$/gm)) {
    const plain = title.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "");
    found.add(plain.trim().replace(/\s/g, "-"));
  }
  return found;
}

/** Targets of the links in a page's text, without those to other sites. */
export function linksIn(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, "");
  const found = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
  return found.filter((target) => !/^[a-z]+:/.test(target));
}

/** All fenced blocks of a page. */
export function fencesOf(page: string): Fence[] {
  const fences: Fence[] = [];
  let open: { line: number; language: string; words: string[]; lines: string[] } | undefined;
  for (const [index, line] of readPage(page).split("\n").entries()) {
    const [, info] = /^```(.*)$/.exec(line) ?? [];
    if (info === undefined) open?.lines.push(line);
    else if (open === undefined) {
      const [language = "", ...words] = info.trim().split(/\s+/);
      open = { line: index + 2, language, words, lines: [] };
    } else {
      fences.push({ page, ...open, code: `${open.lines.join("\n")}\n` });
      open = undefined;
    }
  }
  return fences;
}
