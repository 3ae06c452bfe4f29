/** Finds files of this package, both from the compiled sources and from the bundle. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** @param path below the folder of package.json @throws Error where there is no package.json above this file */
export function packageFile(path: string): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no package.json above ${fileURLToPath(import.meta.url)}`);
    folder = parent;
  }
  return join(folder, path);
}

/** The version in package.json. @throws as {@link packageFile} */
export function packageVersion(): string {
  return String(JSON.parse(readFileSync(packageFile("package.json"), "utf8")).version);
}
