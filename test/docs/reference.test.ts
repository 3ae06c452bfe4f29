/** The API reference builds without warnings: no broken link, and no public name without a docstring. `npm run docs` shows them. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";

const root = packageRoot();

test("TypeDoc finds nothing wrong, and no public name without a docstring", () => {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, "node_modules/typedoc/bin/typedoc"), "--emit", "none", "--treatWarningsAsErrors", "false"],
    { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  const warnings = `${stdout}${stderr}`
    .split("\n")
    .filter((line) => /\[(?:warning|error)\]/.test(line) && !/ Found \d+ errors/.test(line));
  expect(warnings).toEqual([]);
});
