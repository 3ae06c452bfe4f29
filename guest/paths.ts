/** Paths of the package and of programs on the host. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The folder of package.json. The shell script and the kernel config are in
 * guest/, and the compiled code runs from dist/guest/, so there is no fixed
 * relative path between them.
 */
export function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  let folder = start;
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error(`there is no package.json in ${start} or above it; reinstall the package`);
    folder = parent;
  }
  return folder;
}

/** Where a shell would find a program, or undefined. Names with a slash are taken as they are. */
export function findProgram(name: string, searchPath = process.env["PATH"] ?? ""): string | undefined {
  const candidates = name.includes("/")
    ? [name]
    : searchPath.split(delimiter).map((folder) => join(folder || ".", name));
  return candidates.find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** True when `path` is `folder` or lies below it. */
export function isBelow(path: string, folder: string): boolean {
  const absolute = resolve(path);
  return absolute === folder || absolute.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}
