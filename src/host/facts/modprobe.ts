/** The configuration of modprobe (modprobe.d(5)): blacklists, options, dependencies, replaced commands. */
import { linesOf } from "./lines.js";
import { moduleName } from "./modules.js";
import type { HostRoot } from "./root.js";

/** The kinds of lines that modprobe knows and this library looks at. */
export type ModprobeKind = "blacklist" | "options" | "softdep" | "install";

/** One line of modprobe's configuration. */
export interface ModprobeLine {
  readonly kind: ModprobeKind;
  /** Name of the module, with `_` for `-`. */
  readonly module: string;
  /** What follows the name. */
  readonly rest: string;
  /** File and line: `/etc/modprobe.d/vfio.conf:3`. */
  readonly where: string;
}

/** Where modprobe looks. A file hides those of the same name in the folders after it. */
const FOLDERS = [
  "/etc/modprobe.d",
  "/run/modprobe.d",
  "/usr/local/lib/modprobe.d",
  "/usr/lib/modprobe.d",
  "/lib/modprobe.d",
];

/** Parses one file. A backslash at a line's end continues it. Never throws. */
export function parseModprobe(text: string, path: string): ModprobeLine[] {
  const found: ModprobeLine[] = [];
  const parts: string[] = [];
  let start = 1;
  linesOf(text).forEach((part, i) => {
    if (parts.length === 0) start = i + 1;
    const isContinued = part.endsWith("\\");
    parts.push(isContinued ? part.slice(0, -1) : part);
    if (isContinued) return;
    const [line = ""] = linesOf(parts.splice(0).join(" "));
    const where = `${path}:${start}`;
    const [, kind, module, rest = ""] =
      /^\s*(blacklist|options|softdep|install)\s+([^\s#]+)(?:\s+(.*))?$/.exec(line) ?? [];
    if (module === undefined) return;
    if (kind === "blacklist" || kind === "options" || kind === "softdep" || kind === "install")
      found.push({ kind, module: moduleName(module), rest, where });
  });
  return found;
}

/** All lines of all files, in the order in which modprobe reads them. */
export function readModprobe(root: HostRoot): ModprobeLine[] {
  const files = new Map<string, string>();
  for (const folder of FOLDERS) {
    for (const name of root.names(folder)) {
      if (name.endsWith(".conf") && !files.has(name)) files.set(name, `${folder}/${name}`);
    }
  }
  return [...files]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, path]) => parseModprobe(root.text(path) ?? "", path));
}

/** Ids of devices that vfio-pci claims when it is loaded: `10de:1b80` of `options vfio-pci ids=10de:1b80,...`. */
export function vfioPciIds(lines: readonly ModprobeLine[]): string[] {
  return lines.flatMap(({ kind, module, rest }) => {
    if (kind !== "options" || module !== "vfio_pci") return [];
    return [...rest.matchAll(/(?:^|\s)ids=(\S+)/g)].flatMap(([, ids = ""]) => ids.split(",").filter(Boolean));
  });
}

/** Lines that keep a module from being loaded: by a blacklist (only by alias), or by a command in its place. */
export function obstaclesOf(lines: readonly ModprobeLine[], module: string): ModprobeLine[] {
  const wanted = moduleName(module);
  return lines.filter(
    (line) =>
      line.module === wanted &&
      (line.kind === "blacklist" || (line.kind === "install" && isRefusal(line.rest))),
  );
}

/** A command that loads nothing. */
function isRefusal(command: string): boolean {
  return /^(?:\/usr)?(?:\/bin\/)?(?:false|true|:)(?:\s|$)/.test(command);
}
