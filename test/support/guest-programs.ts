import { type CompiledTree, compileTree } from "./compiled.js";

const programs = ["nobody-bind", "nobody-open", "nvme-endless", "nvme-idle"] as const;

/** Compiling takes most of a minute in a guest without KVM. */
export const COMPILE_LIMIT_MS = 300_000;

let tree: CompiledTree | undefined;

/**
 * Path of a program of test/guest/fixtures/ as plain JavaScript. All are compiled together, once per process that runs
 * tests.
 */
export function guestProgram(name: (typeof programs)[number]): string {
  const source = (program: string): string => `test/guest/fixtures/${program}.ts`;
  if (tree === undefined) {
    const compiled = compileTree(...programs.map(source));
    process.once("exit", () => compiled[Symbol.dispose]());
    tree = compiled;
  }
  return tree.file(source(name));
}
