import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { type CompiledTree, compileTree } from "./compiled.js";

/** Those that one test machine needs are compiled together. */
const groups = {
  pci: ["nobody-bind", "nobody-open", "nvme-endless", "nvme-idle"],
  iommufd: ["change-process-heir", "change-process-owner", "ioas-mapper", "nobody-errnos"],
} as const;

type Group = keyof typeof groups;
type Program = (typeof groups)[Group][number];

/** Compiling takes most of a minute in a guest without KVM. */
export const COMPILE_LIMIT_MS = 300_000;

const trees = new Map<readonly string[], CompiledTree>();

const source = (program: string): string => `test/guest/fixtures/${program}.ts`;

/**
 * Path of a program of test/guest/fixtures/ as plain JavaScript. Each group is compiled once per process that runs
 * tests.
 */
export function guestProgram(name: Program): string {
  const programs: readonly string[] =
    Object.values(groups).find((group: readonly string[]) => group.includes(name)) ?? [];
  let tree = trees.get(programs);
  if (tree === undefined) {
    const compiled = compileTree(...programs.map(source));
    process.once("exit", () => compiled[Symbol.dispose]());
    trees.set(programs, compiled);
    tree = compiled;
  }
  return tree.file(source(name));
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGE = join(root, "dist/iova.js");

/**
 * The same for a program of which many are started: on the package as users get it, one file, which Node takes a fifth of the
 * time to read and compile. The guest suite, whose tests run against the compiled package as well, has it.
 */
export function packagedProgram(name: string): string {
  const text = readFileSync(join(root, source(name)), "utf8").replace(
    '"../../../src/index.js"',
    JSON.stringify(PACKAGE),
  );
  const { outputText } = ts.transpileModule(text, {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2022,
      verbatimModuleSyntax: true,
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "iova-test-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, outputText);
  return file;
}
