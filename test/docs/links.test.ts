/** Links between the project's pages lead to a file that exists, and to a heading that exists if they name one. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { anchorsIn, linksIn, pages, readPage } from "./markdown.js";

const root = packageRoot();

test("each link in the pages leads to a file and a heading that exist", () => {
  const broken = pages().flatMap((page) =>
    linksIn(readPage(page))
      .filter((target) => {
        const [path = "", anchor] = target.split("#");
        const file = path === "" ? page : relative(root, join(root, dirname(page), path));
        if (!existsSync(join(root, file))) return true;
        return anchor !== undefined && !anchorsIn(readPage(file)).has(anchor);
      })
      .map((target) => `${page}: ${target}`),
  );
  expect(broken).toEqual([]);
});

test("each page of docs/ is reached from its index, or from the architecture, which the package leaves out", () => {
  const reached = new Set<string>();
  const visit = (page: string): void => {
    if (reached.has(page)) return;
    reached.add(page);
    for (const target of linksIn(readPage(page))) {
      const [path = ""] = target.split("#");
      if (path.endsWith(".md")) visit(relative(root, join(root, dirname(page), path)));
    }
  };
  visit("docs/README.md");
  visit("docs/architecture.md");
  expect(pages().filter((page) => !reached.has(page))).toEqual(["README.md"]);
});

test("the site has every page, in the order of typedoc.json", () => {
  const { projectDocuments } = JSON.parse(readFileSync(join(root, "typedoc.json"), "utf8")) as {
    projectDocuments: string[];
  };
  expect(["README.md", ...projectDocuments].sort()).toEqual([...pages()].sort());
});
