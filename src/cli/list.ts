/** `iova list`: the PCI functions of this host. */
import { hexDigits } from "../core/hex-digits.js";
import { visible } from "../core/visible.js";
import { ifThere, listPciFunctions, type PciFunction } from "../pci/sysfs.js";
import { blockDevices } from "../pci/usage/disks.js";
import { usersOf, usersSearch } from "../pci/usage/users.js";
import { parseCommandLine, usageError } from "./command-line.js";
import { listDescription } from "./described/list.js";
import { print, printAside, printJson } from "./terminal.js";

/** One function as `iova list --json` prints it. */
export interface ListEntry extends PciFunction {
  readonly blockDevices: readonly string[];
  /** What uses the function, so that it can't be bound to vfio-pci. */
  readonly inUse: readonly string[];
}

/** Prints or draws the PCI functions of this host. @throws ConfigError: also a file that can't be written */
export async function runList(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(listDescription, argv);
  const { svg, html, json = false, tree = false } = values;
  if (positionals.length > 0)
    throw usageError(listDescription, `list takes no operand, got ${positionals.join(" ")}`);
  if (listPciFunctions().length === 0)
    printAside("this host shows no PCI functions: it has none, or /sys isn't mounted");
  const isDrawn = svg !== undefined || html !== undefined;
  if (isDrawn && (json || tree))
    throw usageError(listDescription, "--svg and --html draw to a file: leave --json and --tree out");
  if (isDrawn) await (await import("./topology/draw.js")).draw({ svg, html });
  else if (tree) await (await import("./topology/draw.js")).printTree(json);
  else printList(json);
}

function printList(json: boolean): void {
  const users = usersSearch();
  const entries = listPciFunctions().flatMap((fn) => ifThere(() => entryOf(fn, users)) ?? []);
  if (json) {
    printJson(entries);
    return;
  }
  for (const entry of entries) printEntry(entry);
}

/** @throws ArgumentError: the function has gone meanwhile */
export function entryOf(fn: PciFunction, users: (bdf: string) => string[] = usersOf): ListEntry {
  return { ...fn, blockDevices: blockDevices(fn.bdf), inUse: users(fn.bdf) };
}

/** @param more further notes */
export function printEntry(entry: ListEntry, more: readonly string[] = []): void {
  const notes = [
    entry.iommuGroup === undefined ? "no IOMMU group" : `group ${entry.iommuGroup}`,
    entry.driver ?? "no driver",
    ...virtualizationOf(entry),
    ...entry.inUse,
    ...more,
  ];
  const id = `${hexDigits(entry.vendorId, 4)}:${hexDigits(entry.deviceId, 4)}`;
  print(`${entry.bdf}  ${hexDigits(entry.classCode, 6)}  ${id}  ${notes.map(visible).join(", ")}`);
}

/** What SR-IOV makes of a function, in words. */
export function virtualizationOf({
  physicalFunction,
  maxVirtualFunctions,
  virtualFunctions,
}: PciFunction): string[] {
  return [
    ...(physicalFunction === undefined ? [] : [`virtual function of ${physicalFunction}`]),
    ...(maxVirtualFunctions === 0
      ? []
      : [`${virtualFunctions.length} of ${maxVirtualFunctions} virtual functions`]),
  ];
}
