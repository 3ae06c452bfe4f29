/**
 * Which modules claim a function, and which VFIO driver it asks for. VFIO drivers that know a vendor's functions, for migration
 * for instance, have aliases that begin with `vfio_pci:` in place of `pci:`, so that nothing loads them by itself.
 */

const PREFIX = "vfio_pci:";
const GENERIC = "vfio_pci";

/**
 * The module whose alias fits best, which is the one with the fewest wildcards.
 * @param modalias of the function in sysfs, such as `pci:v00008086d0000100E...`
 * @param aliases the text of modules.alias
 * @returns undefined if only vfio-pci fits, which takes every function
 */
export function variantModule(modalias: string, aliases: string): string | undefined {
  const wanted = modalias.trim().replace(/^pci:/, PREFIX);
  let best: { readonly module: string; readonly wildcards: number } | undefined;
  for (const line of aliases.split("\n")) {
    const [word, pattern = "", module] = line.trim().split(/\s+/);
    if (word !== "alias" || module === undefined || !pattern.startsWith(PREFIX)) continue;
    if (module.replaceAll("-", "_") === GENERIC || !fits(pattern, wanted)) continue;
    const wildcards = pattern.split("*").length - 1;
    if (best === undefined || wildcards < best.wildcards) best = { module, wildcards };
  }
  return best?.module;
}

/**
 * The modules that claim a function by an alias, in the order of the files, each once.
 * @param modalias of the function in sysfs
 * @param aliases the text of modules.alias
 * @param builtIn the text of modules.builtin.modinfo: `MODULE.alias=PATTERN`, with a NUL after each
 */
export function claimingModules(modalias: string, aliases: string, builtIn: string): string[] {
  const found = new Set<string>();
  const consider = (pattern: string, module: string): void => {
    if (pattern.startsWith("pci:") && fits(pattern, modalias.trim())) found.add(module);
  };
  for (const line of aliases.split("\n")) {
    const [word, pattern = "", module] = line.trim().split(/\s+/);
    if (word === "alias" && module !== undefined) consider(pattern, module);
  }
  for (const entry of builtIn.split("\0")) {
    const [, module, pattern = ""] = /^([^.=]+)\.alias=(.*)$/s.exec(entry) ?? [];
    if (module !== undefined) consider(pattern, module);
  }
  return [...found];
}

/** Whether a pattern of modules.alias describes a name. Its only wildcards are `*` and `?`. */
function fits(pattern: string, name: string): boolean {
  const literal = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${literal.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s").test(name);
}
