/** The package's entry points, as source files, and the names that each exports. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { packageRoot } from "../../guest/paths.js";

const root = packageRoot();

/** The compiler's options for this checkout. */
export function compilerOptions(): ts.CompilerOptions {
  const file = join(root, "tsconfig.json");
  const { config } = ts.readConfigFile(file, (path) => readFileSync(path, "utf8"));
  const { options } = ts.parseJsonConfigFileContent(config, { ...ts.sys, readDirectory: () => [] }, root);
  return { ...options, noEmit: true, composite: false };
}

/** Source files by the specifier that users import: `iova`, `iova/nvme`, ... */
export function doors(options: ts.CompilerOptions): ReadonlyMap<string, string> {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Record<string, unknown>;
  };
  const found = new Map<string, string>();
  for (const key of Object.keys(exports)) {
    if (key === "./package.json") continue;
    const specifier = key === "." ? "iova" : `iova/${key.slice(2)}`;
    const resolved = ts.resolveModuleName(
      specifier,
      join(root, "docs/snippet.ts"),
      options,
      ts.sys,
      undefined,
      undefined,
      ts.ModuleKind.ESNext,
    ).resolvedModule;
    if (resolved === undefined) throw new Error(`package.json's export ${key} leads to no source`);
    found.set(specifier, resolved.resolvedFileName);
  }
  return found;
}

/** A name that a door exports. */
export interface ExportedName {
  readonly door: string;
  /** False for a type, which is nothing at run time. */
  readonly isValue: boolean;
}

/** Exported names by name. A name that two doors export belongs to the first. */
export function exportedNames(
  program: ts.Program,
  files: ReadonlyMap<string, string>,
): ReadonlyMap<string, ExportedName> {
  const checker = program.getTypeChecker();
  const found = new Map<string, ExportedName>();
  for (const [door, file] of files) {
    const source = program.getSourceFile(file);
    const symbol = source === undefined ? undefined : checker.getSymbolAtLocation(source);
    if (symbol === undefined) throw new Error(`${file} is no module`);
    for (const exported of checker.getExportsOfModule(symbol)) {
      const target =
        (exported.flags & ts.SymbolFlags.Alias) === 0 ? exported : checker.getAliasedSymbol(exported);
      const isValue = (target.flags & ts.SymbolFlags.Value) !== 0;
      if (!found.has(exported.name)) found.set(exported.name, { door, isValue });
    }
  }
  return found;
}
