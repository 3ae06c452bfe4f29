/** Compiles programs that tests start. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildOptions, buildSync } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));

const common: BuildOptions = {
  absWorkingDir: root,
  format: "esm",
  platform: "node",
  target: "es2022",
  tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
  logLevel: "silent",
};

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
  return makeTree((out) => {
    // A bundle, which is thrown away, tells what a program imports.
    const bundle = { ...common, bundle: true, packages: "external", metafile: true, write: false } as const;
    const { metafile } = buildSync({ ...bundle, entryPoints: programs, outdir: out });
    buildSync({ ...common, entryPoints: Object.keys(metafile.inputs), outdir: out, outbase: root });
  });
}

/** Compiles one program into few files, which start in half the time. It starts no worker of ours. */
export function bundleProgram(program: string): CompiledTree {
  return makeTree((out) => {
    const bundle = {
      ...common,
      bundle: true,
      splitting: true,
      packages: "external",
      keepNames: true,
    } as const;
    buildSync({
      ...bundle,
      entryPoints: [program],
      outdir: out,
      outbase: root,
      chunkNames: "src/chunks/[hash]",
    });
  });
}

function makeTree(build: (out: string) => void): CompiledTree {
  const out = mkdtempSync(join(tmpdir(), "iova-test-"));
  build(out);
  const { type, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  writeFileSync(join(out, "package.json"), JSON.stringify({ type, version }));
  for (const name of ["node_modules", "templates"]) symlinkSync(join(root, name), join(out, name));
  return {
    file: (source) => join(out, source.replace(/\.ts$/, ".js")),
    [Symbol.dispose]: () => rmSync(out, { recursive: true, force: true }),
  };
}
