/** Removes the comments of compiled programs that the package ships as they are: a hundredth of the tarball. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** @param folder of programs, without its subfolders */
export function removeComments(folder: string): void {
  const compilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    removeComments: true,
  };
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(".js")) continue;
    const file = join(folder, name);
    writeFileSync(file, ts.transpileModule(readFileSync(file, "utf8"), { compilerOptions }).outputText);
  }
}
