/** The oldest Node.js version: pages and new packages name the one of package.json. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { manifestOf } from "../../src/cli/new-driver/manifest.js";
import { pages, readPage } from "./markdown.js";

const { engines } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as {
  engines: { node: string };
};
const oldest = engines.node.replace(">=", "");

/** For a checkout: its tools need later versions than the package. */
const userPages = pages().filter((page) => page !== "CONTRIBUTING.md");

test("pages that say from which Node.js version on the package runs name the one of package.json", () => {
  const said = userPages.flatMap((page) =>
    [
      ...readPage(page).matchAll(
        /Linux and Node\.js ([\d.]+) or\s+later|^\| Node\.js \| ([\d.]+) and later/gm,
      ),
    ].map(([, inText, inTable]) => `${page}: ${inText ?? inTable}`),
  );
  const expected = [
    "README.md",
    "docs/first-driver.md",
    "docs/getting-started.md",
    "docs/rings.md",
    "docs/support-matrix.md",
  ];
  expect(said).toEqual(expected.map((page) => `${page}: ${oldest}`));
});

test("a new driver's package needs the Node.js version that this package needs", () => {
  expect(manifestOf("foo", "A driver.", packageRoot())).toMatchObject({ engines });
});
