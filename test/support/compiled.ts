import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Plain JavaScript of this checkout, for processes and workers that Node has to run by itself. */
export interface CompiledTree extends Disposable {
  /** The JavaScript made of a source, e.g. of `src/sys/watch.ts`. */
  file(source: string): string;
}

/**
 * Compiles src/ and the given folders into a temporary tree of the same shape. Never dist/: a test must not depend on
 * a build having run, let alone on one that is older than the sources.
 */
export function compileTree(...folders: string[]): CompiledTree {
  const out = mkdtempSync(join(tmpdir(), "iova-test-"));
  for (const folder of ["src", ...folders]) {
    for (const source of typescriptBelow(join(root, folder))) {
      const target = join(out, relative(root, source).replace(/\.ts$/, ".js"));
      mkdirSync(dirname(target), { recursive: true });
      const { outputText } = ts.transpileModule(readFileSync(source, "utf8"), {
        fileName: source,
        compilerOptions: {
          module: ts.ModuleKind.ESNext,
          target: ts.ScriptTarget.ES2022,
          verbatimModuleSyntax: true,
        },
      });
      writeFileSync(target, outputText);
    }
  }
  writeFileSync(join(out, "package.json"), '{ "type": "module" }');
  symlinkSync(join(root, "node_modules"), join(out, "node_modules"));
  return {
    file: (source) => join(out, source.replace(/\.ts$/, ".js")),
    [Symbol.dispose]: () => rmSync(out, { recursive: true, force: true }),
  };
}

function typescriptBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(folder, name));
}
