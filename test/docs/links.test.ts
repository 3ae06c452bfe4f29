/** Links between the project's pages lead to a file that exists, and to a heading that exists if they name one. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { pages, readPage } from "./markdown.js";

const root = packageRoot();

/** The anchors of a page's headings, as GitHub makes them. */
function anchors(page: string): Set<string> {
  const found = new Set<string>();
  for (const [, title = ""] of readPage(page).matchAll(/^#+ (.+)$/gm)) {
    const text = title.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "");
    found.add(text.trim().replace(/\s/g, "-"));
  }
  return found;
}

/** Targets of a page's links, without those to other sites. */
function linksOf(page: string): string[] {
  const text = readPage(page).replace(/^```[\s\S]*?^```/gm, "");
  const found = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
  return found.filter((target) => !/^[a-z]+:/.test(target));
}

test("each link in the pages leads to a file and a heading that exist", () => {
  const broken = pages().flatMap((page) =>
    linksOf(page)
      .filter((target) => {
        const [path = "", anchor] = target.split("#");
        const file = path === "" ? page : relative(root, join(root, dirname(page), path));
        if (!existsSync(join(root, file))) return true;
        return anchor !== undefined && !anchors(file).has(anchor);
      })
      .map((target) => `${page}: ${target}`),
  );
  expect(broken).toEqual([]);
});

test("each page of docs/ is reached from its index", () => {
  const reached = new Set<string>();
  const visit = (page: string): void => {
    if (reached.has(page)) return;
    reached.add(page);
    for (const target of linksOf(page)) {
      const [path = ""] = target.split("#");
      if (path.endsWith(".md")) visit(relative(root, join(root, dirname(page), path)));
    }
  };
  visit("docs/README.md");
  expect(pages().filter((page) => !reached.has(page))).toEqual(["README.md"]);
});

test("the site has every page, in the order of typedoc.json", () => {
  const { projectDocuments } = JSON.parse(readFileSync(join(root, "typedoc.json"), "utf8")) as {
    projectDocuments: string[];
  };
  expect(["README.md", ...projectDocuments].sort()).toEqual([...pages()].sort());
});
