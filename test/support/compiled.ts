/** Compiles programs that tests start. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Programs compiled to JavaScript, for processes and workers, which Node runs without vitest. */
export interface CompiledTree extends Disposable {
  /** Path of the JavaScript of a source, e.g. of `src/sys/watch.ts`. */
  file(source: string): string;
}

/**
 * Compiles these programs and what they import into a temporary tree with the shape of this checkout. Unit tests never use
 * dist/, which may be missing or older than the sources. Guest tests run the compiled package: guest-programs.ts.
 */
export function compileTree(...programs: string[]): CompiledTree {
  const out = mkdtempSync(join(tmpdir(), "iova-test-"));
  const compiledName = (source: string): string => join(out, source.replace(/\.ts$/, ".js"));
  const sources = new Set(programs);
  // The loop adds to the set.
  for (const source of sources) {
    const text = readFileSync(join(root, source), "utf8");
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2022,
        verbatimModuleSyntax: true,
      },
    });
    // Looks at the compiled code, which has no type imports.
    for (const { fileName } of ts.preProcessFile(outputText).importedFiles) {
      if (fileName.startsWith(".")) sources.add(join(dirname(source), fileName.replace(/\.js$/, ".ts")));
    }
    mkdirSync(dirname(compiledName(source)), { recursive: true });
    writeFileSync(compiledName(source), outputText);
  }
  const { type, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  writeFileSync(join(out, "package.json"), JSON.stringify({ type, version }));
  for (const name of ["node_modules", "templates"]) symlinkSync(join(root, name), join(out, name));
  return {
    file: compiledName,
    [Symbol.dispose]: () => rmSync(out, { recursive: true, force: true }),
  };
}
