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
