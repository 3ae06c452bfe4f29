/**
 * How a bundle of this package (build/bundle.ts) is loaded: with the code that V8 made of it when it was built, where this
 * Node's V8 takes it. That halves the time an import takes. What is not in there, or not for this V8, is compiled as usual.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";

type Exports = Record<string, unknown>;
/** What a CommonJS file is, once it is compiled. */
type Body = (exports: Exports, require: (id: string) => unknown, file: string) => void;

const folder = dirname(dirname(fileURLToPath(import.meta.url)));
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
  loaded.set(name, { script, exports });
  const body: Body = script.runInThisContext();
  body(exports, (id) => (id.startsWith("./") ? loadBundle(id.slice(2)) : nodeRequire(id)), file);
  return exports;
}

/** Keeps what V8 has compiled so far of all that was loaded. @throws SystemError */
export function saveCode(): void {
  for (const [name, { script }] of loaded)
    writeFileSync(join(folder, `${name}.code`), script.createCachedData());
}

function cacheOf(file: string): Buffer | undefined {
  try {
    return readFileSync(`${file}.code`);
  } catch {
    // The package works without.
    return undefined;
  }
}
