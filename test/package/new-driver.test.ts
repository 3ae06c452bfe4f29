/** `iova new-driver` of the installed package: what it writes compiles, and its tests pass, without an edit. */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, inject, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { fencesOf } from "../docs/markdown.js";
import { nodeProgram, nodeVersions } from "./support/node-versions.js";
import { project, runIn } from "./support/project.js";

const cli = join(inject("installed"), "node_modules", "iova", "dist", "lib", "cli.js");
const programs = join(packageRoot(), "node_modules", ".bin");

test.each([
  ...nodeVersions.map((version) => ["foo", version] as const),
  ["@acme/3d-card.x", process.versions.node] as const,
])("the new package %s compiles, and its tests pass, on Node %s", async (name, version) => {
  const node = nodeProgram(version);
  const folder = project({});
  const ids = ["--vendor", "0x1234", "--device", "0x11e8"];
  await runIn(folder, node, cli, "new-driver", name, ...ids, "--dir", "new");
  const path = `PATH=${dirname(node)}:${programs}:${process.env["PATH"]}`;
  // The dependencies are installed in a folder above.
  const output = await runIn(join(folder, "new"), "/usr/bin/env", path, "npm", "test");
  expect(output).toMatch(/^(?:#|ℹ) pass 8$/m);
  expect(output).toMatch(/^(?:#|ℹ) fail 0$/m);
});

test("the new package still compiles after the edits of docs/first-driver.md, and one test more passes", async () => {
  const folder = project({});
  const ids = ["--vendor", "0x1234", "--device", "0x5678"];
  await runIn(folder, process.execPath, cli, "new-driver", "my-card", ...ids);
  const edits = fencesOf("docs/first-driver.md").flatMap(({ code, words }) =>
    words.flatMap((word) => (word.startsWith("into=") ? [{ path: word.slice(5), code }] : [])),
  );
  expect(edits).toHaveLength(4);
  for (const { path, code } of edits) {
    const file = join(folder, "my-card", path);
    const text = readFileSync(file, "utf8");
    const last = code.trimEnd().split("\n").at(-1) ?? "";
    expect(text.split(`${last}\n`)).toHaveLength(2);
    writeFileSync(
      file,
      text.replace(`${last}\n`, () => code),
    );
  }
  const path = `PATH=${programs}:${process.env["PATH"]}`;
  const output = await runIn(join(folder, "my-card"), "/usr/bin/env", path, "npm", "test");
  expect(output).toMatch(/^(?:#|ℹ) pass 9$/m);
});

test("the new package depends on the version of the one that wrote it, if that is from a registry", async () => {
  const folder = project({});
  await runIn(folder, process.execPath, cli, "new-driver", "foo", "--vendor", "1", "--device", "2");
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
  const { dependencies } = JSON.parse(readFileSync(join(folder, "foo", "package.json"), "utf8"));
  expect(dependencies).toEqual({ iova: `^${version}` });
});
