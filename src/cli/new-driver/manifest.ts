/** What a new package has beside its sources: package.json, tsconfig.json, .gitignore. */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { packageFile, packageVersion } from "../package-file.js";

/** With these versions the template is tested. */
const devDependencies = { "@types/node": "^20.19.0", typescript: "^6.0.3" };
export const dependencyNames: readonly string[] = ["iova", ...Object.keys(devDependencies)];

export const gitignore = "dist/\nnode_modules/\n";

export const tsconfig = {
  compilerOptions: {
    target: "es2022",
    lib: ["es2023", "esnext.disposable"],
    module: "nodenext",
    types: ["node"],
    rootDir: ".",
    outDir: "dist",
    declaration: true,
    strict: true,
    noUncheckedIndexedAccess: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
  },
  include: ["src", "test"],
};

/** @param folder where package.json is going to be */
export function manifestOf(name: string, description: string, folder: string): object {
  return {
    name,
    version: "0.1.0",
    description,
    private: true,
    type: "module",
    engines: { node: ">=20.4" },
    os: ["linux"],
    exports: "./dist/src/driver.js",
    files: ["dist/src"],
    scripts: {
      build: "tsc",
      // Node 20 and later versions don't agree about folders and patterns: the shell lists the files.
      test: "tsc && node --test dist/test/*.test.js",
      prepack: "tsc",
    },
    dependencies: { iova: iovaFor(folder) },
    devDependencies,
  };
}

/**
 * Where npm finds this package: its version, or the file or repository that it was installed from if it isn't from a
 * registry.
 */
function iovaFor(folder: string): string {
  const root = packageFile(".");
  const modules = dirname(root);
  if (basename(modules) !== "node_modules") return `file:${relative(folder, root)}`;
  const source = installedFrom(modules);
  if (source === undefined || !/^(?:file|git)/.test(source)) return `^${packageVersion()}`;
  const [, path] = /^file:(.*)$/.exec(source) ?? [];
  return path === undefined ? source : `file:${relative(folder, resolve(dirname(modules), path))}`;
}

/** What npm has noted about the installed package. */
function installedFrom(modules: string): string | undefined {
  const file = join(modules, ".package-lock.json");
  if (!existsSync(file)) return undefined;
  const lock: unknown = JSON.parse(readFileSync(file, "utf8"));
  const entry: unknown = Object(Object(lock).packages)["node_modules/iova"];
  const resolved: unknown = Object(entry).resolved;
  return typeof resolved === "string" ? resolved : undefined;
}
