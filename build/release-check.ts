/** `npm run release:check`: the checks before a version is published. Prints a line for each. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../guest/paths.js";

const root = packageRoot();
const text = (name: string): string => readFileSync(join(root, name), "utf8");

function run(...args: string[]): boolean {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  if (status !== 0) process.stderr.write(`${stdout}${stderr}`);
  return status === 0;
}

function hasEntry(): boolean {
  const { version }: { version: string } = JSON.parse(text("package.json"));
  const { version: locked }: { version: string } = JSON.parse(text("package-lock.json"));
  const heading = text("CHANGELOG.md")
    .split("\n")
    .find((line) => line.startsWith("## "));
  const isRight = locked === version && heading?.split(" ")[1] === version;
  if (!isRight) {
    process.stderr.write(
      `package.json has ${version}, package-lock.json ${locked}, CHANGELOG.md begins with "${heading}"\n`,
    );
  }
  return isRight;
}

const module = (path: string): string => join("node_modules", path);
const checks: readonly (readonly [string, () => boolean])[] = [
  ["CHANGELOG.md and package-lock.json have the version", hasEntry],
  ["lint", () => run(module("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", ".")],
  ["nothing unused", () => run(module("knip/bin/knip.js"))],
  ["types", () => run(module("typescript/bin/tsc"), "-p", "tsconfig.json")],
  ["the tarball: contents, publint, types, Node versions, bundlers, test runners", packageSuite],
];

function packageSuite(): boolean {
  return run(module("vitest/vitest.mjs"), "run", "--project", "package");
}

for (const [what, check] of checks) {
  const isGood = check();
  process.stdout.write(`${isGood ? "ok    " : "FAILED"}  ${what}\n`);
  if (!isGood) process.exitCode = 1;
}
