/** Parameters of the modules that the library works with, as the kernel shows them. */
import { readdirSync, writeFileSync } from "node:fs";
import { fileText } from "../../src/sys/kernel-files.js";

const MODULES = "/sys/module";

/** Each readable parameter of iommufd and of VFIO's modules: its path, and what it holds. */
export function moduleParameters(): Map<string, string> {
  const found = new Map<string, string>();
  for (const module of readdirSync(MODULES).filter((name) => /^(?:iommufd|vfio)/.test(name)))
    for (const path of parametersOf(module)) {
      const value = fileText(path)?.trim();
      if (value !== undefined) found.set(path, value);
    }
  return found;
}

function parametersOf(module: string): string[] {
  const folder = `${MODULES}/${module}/parameters`;
  try {
    return readdirSync(folder).map((name) => `${folder}/${name}`);
  } catch {
    // Most modules have none.
    return [];
  }
}

/** Gives the parameters what they held; those of modules that went meanwhile are as at their next load. */
export function restoreModuleParameters(before: ReadonlyMap<string, string>): void {
  for (const [path, value] of moduleParameters()) {
    const held = before.get(path);
    if (held !== undefined && held !== value) writeFileSync(path, held);
  }
}
