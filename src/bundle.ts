/**
 * How a bundle of this package (build/bundle.ts) is loaded: with the code that V8 made of it when it was built, which takes two
 * thirds of the time. What is not in there, or not for this V8, is compiled as usual.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";

type Exports = Record<string, unknown>;
/** What a CommonJS file is, once it is compiled. */
type Body = (exports: Exports, require: (id: string) => unknown, file: string) => void;

/** V8 itself asks for its version and flags, not for the processor. */
const CODE = `.${process.arch}-${process.version}.code`;
const folder = fileURLToPath(new URL("../bundle/", import.meta.url));
const nodeRequire = createRequire(import.meta.url);
const loaded = new Map<string, { readonly script: Script; readonly exports: Exports }>();

/** @param name of the file, with its ending @returns what it exports */
export function loadBundle(name: string): Exports {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  const file = join(folder, name);
  const source = `(function (exports, require, __filename) {${readFileSync(file, "utf8")}\n})`;
  const script = new Script(source, { filename: file, cachedData: cacheOf(file) });
  const exports: Exports = {};
  const body: Body = script.runInThisContext();
  body(exports, (id) => (id.startsWith("./") ? loadBundle(id.slice(2)) : nodeRequire(id)), file);
  // Not before: what failed half-way is no bundle for the next to build on.
  loaded.set(name, { script, exports });
  return exports;
}

/** Keeps what V8 has compiled so far of all that was loaded. @throws SystemError */
export function saveCode(): void {
  for (const [name, { script }] of loaded) {
    const file = join(folder, name + CODE);
    // Never half of it.
    writeFileSync(`${file}.new`, script.createCachedData());
    renameSync(`${file}.new`, file);
  }
}

function cacheOf(file: string): Buffer | undefined {
  try {
    return readFileSync(file + CODE);
  } catch {
    // The package works without.
    return undefined;
  }
}
