import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Plain JavaScript of some programs, for processes and workers that Node has to run by itself. */
export interface CompiledTree extends Disposable {
  /** The JavaScript made of a source, e.g. of `src/sys/watch.ts`. */
  file(source: string): string;
}

/**
 * Compiles these programs, and what they import, into a temporary tree of this checkout's shape. The unit suite never uses
 * dist/: a test there must not depend on a build having run, let alone on one that is older than the sources. The guest suite
 * tests the compiled package, and has guest-programs.ts.
 */
export function compileTree(...programs: string[]): CompiledTree {
  const out = mkdtempSync(join(tmpdir(), "iova-test-"));
  const compiledName = (source: string): string => join(out, source.replace(/\.ts$/, ".js"));
  const sources = new Set(programs);
  // The set grows while we go through it.
  for (const source of sources) {
    const text = readFileSync(join(root, source), "utf8");
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2022,
        verbatimModuleSyntax: true,
      },
    });
    // Of what is left: imports of types alone are gone.
    for (const { fileName } of ts.preProcessFile(outputText).importedFiles) {
      if (fileName.startsWith(".")) sources.add(join(dirname(source), fileName.replace(/\.js$/, ".ts")));
    }
    mkdirSync(dirname(compiledName(source)), { recursive: true });
    writeFileSync(compiledName(source), outputText);
  }
  writeFileSync(join(out, "package.json"), '{ "type": "module" }');
  symlinkSync(join(root, "node_modules"), join(out, "node_modules"));
  return {
    file: compiledName,
    [Symbol.dispose]: () => rmSync(out, { recursive: true, force: true }),
  };
}
