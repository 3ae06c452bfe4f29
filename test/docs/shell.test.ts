/** Commands in the shell snippets of README.md and docs/ exist: npm scripts, subcommands of `iova`, files of the checkout. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { compileCli, type IovaCli } from "../support/iova-cli.js";
import { fencesOf, pages } from "./markdown.js";

const root = packageRoot();
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
};
const lines = pages()
  .flatMap(fencesOf)
  .filter(({ language }) => language === "sh")
  .flatMap(({ page, line, code }) =>
    code
      .split("\n")
      .map((text, index) => ({ place: `${page}:${line + index}`, text: text.replace(/\s#.*$/, "") })),
  );
let cli: IovaCli;

beforeAll(() => {
  cli = compileCli();
});

afterAll(() => cli[Symbol.dispose]());

test("each npm script in a shell snippet is in package.json", () => {
  const unknown = lines.filter(({ text }) =>
    [...text.matchAll(/\bnpm run ([\w:-]+)/g)].some(([, name = ""]) => scripts[name] === undefined),
  );
  expect(unknown).toEqual([]);
});

test("each iova command in a shell snippet prints its help", async () => {
  const commands = new Set(
    lines.flatMap(({ text }) =>
      [...text.matchAll(/(?<!=)\biova ((?:nvme )?[a-z][\w-]*)/g)].map(([, command = ""]) => command),
    ),
  );
  expect(commands.size).toBeGreaterThan(5);
  const failed: string[] = [];
  for (const command of commands) {
    const { status } = await cli.run([...command.split(" "), "--help"]);
    if (status !== 0) failed.push(command);
  }
  expect(failed).toEqual([]);
});
