/** Kernel modules: what is loaded, built in, and can be loaded. */

import { isPlain } from "./kernel-config.js";
import { linesOf } from "./lines.js";
import type { HostRoot } from "./root.js";

/**
 * `unknown`: the module isn't loaded, and there is no list of the modules of this kernel. `missing`: the lists lack it.
 */
export type ModuleState = "loaded" | "built-in" | "loadable" | "missing" | "unknown";

/** The modules of the running kernel. Names have `_` for `-`. */
export interface Modules {
  readonly loaded: ReadonlySet<string>;
  /** Undefined if the kernel's list can't be read. */
  readonly builtIn: ReadonlySet<string> | undefined;
  /** Undefined if the kernel's list can't be read. */
  readonly loadable: ReadonlySet<string> | undefined;
  /** The folder of the running kernel's modules, whether it exists or not. */
  readonly folder: string;
}

/** Linux takes `vfio-pci` and `vfio_pci` for the same module. */
export function moduleName(name: string): string {
  return name.replaceAll("-", "_");
}

/** Names in /proc/modules: `name size users ...` lines. Never throws. */
export function parseLoadedModules(text: string): Set<string> {
  const names = linesOf(text).flatMap((line) => /^(\S+)\s+\d/.exec(line)?.[1] ?? []);
  return new Set(names.map(moduleName));
}

/** Names in modules.builtin (a path a line) or modules.dep (a path, a colon, what it needs). Never throws. */
export function parseModuleList(text: string): Set<string> {
  const names = linesOf(text).flatMap(
    (line) => /(?:^|\/)([^/:\s]+)\.ko(?:\.\w+)?(?:[:\s]|$)/.exec(line.split(":", 1)[0] ?? "")?.[1] ?? [],
  );
  return new Set(names.map(moduleName));
}

export function readModules(root: HostRoot, release: string): Modules {
  const list = (file: string): Set<string> | undefined => {
    if (!isPlain(release)) return undefined;
    const text =
      root.text(`/lib/modules/${release}/${file}`) ?? root.text(`/usr/lib/modules/${release}/${file}`);
    return text === undefined ? undefined : parseModuleList(text);
  };
  return {
    loaded: parseLoadedModules(root.text("/proc/modules") ?? ""),
    builtIn: list("modules.builtin"),
    loadable: list("modules.dep"),
    folder: `/lib/modules/${release}`,
  };
}

/** The state of a module. */
export function moduleState(modules: Modules, name: string): ModuleState {
  const wanted = moduleName(name);
  if (modules.loaded.has(wanted)) return "loaded";
  if (modules.builtIn?.has(wanted) === true) return "built-in";
  if (modules.loadable?.has(wanted) === true) return "loadable";
  return modules.builtIn === undefined || modules.loadable === undefined ? "unknown" : "missing";
}
