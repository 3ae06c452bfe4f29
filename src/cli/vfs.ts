/** `iova vfs`: lists, creates and removes the virtual functions of a PCI function. */
import { ConfigError } from "../core/errors.js";
import { type PciFunction, readPciFunction } from "../pci/sysfs.js";
import { holdersText, type VfioHolder, virtualFunctionHolders } from "../pci/usage.js";
import { createVirtualFunctions, removeVirtualFunctions } from "../pci/virtual-functions.js";
import { entryOf, type ListEntry, printEntry } from "./list.js";
import { print, printJsonText } from "./terminal.js";

/** What `iova vfs` was asked for. */
export interface VfsRequest {
  readonly json: boolean;
  readonly timeoutMs: number | undefined;
  /** How many to create. */
  readonly create: string | undefined;
  readonly remove: boolean;
  /** For what is created. */
  readonly driver: string | undefined;
}

/** A virtual function as `iova vfs --json` prints it. */
interface VirtualFunctionEntry extends ListEntry {
  /** Processes that have it open through VFIO, as far as this user may see. */
  readonly openIn: readonly VfioHolder[];
}

/** @throws ConfigError, and as createVirtualFunctions() and removeVirtualFunctions() */
export async function vfs(address: string, request: VfsRequest): Promise<void> {
  const { json, timeoutMs, create, remove, driver } = request;
  if (create !== undefined && remove)
    throw new ConfigError("vfs takes either --create or --remove; see iova help");
  if (driver !== undefined && create === undefined)
    throw new ConfigError("--driver is for what --create makes; see iova help");
  if (driver !== undefined && driver !== "vfio-pci")
    throw new ConfigError(`--driver ${JSON.stringify(driver)}: expected vfio-pci; see iova help`);
  if (create !== undefined) {
    if (!/^\d+$/.test(create))
      throw new ConfigError(`--create ${JSON.stringify(create)}: expected a number; see iova help`);
    const created = await createVirtualFunctions(address, Number(create), { timeoutMs, driver });
    // They outlive this process.
    created.relinquish();
  }
  if (remove) {
    const removed = await removeVirtualFunctions(address, { timeoutMs });
    if (!json) print(removed.length === 0 ? "there were none" : `removed ${removed.join(", ")}`);
  }
  // Of a virtual function: it and those beside it.
  const asked = readPciFunction(address);
  const pf = asked.physicalFunction === undefined ? asked : readPciFunction(asked.physicalFunction);
  const entries = entriesOf(pf);
  if (json) printJsonText(JSON.stringify({ ...entryOf(pf), virtualFunctions: entries }, undefined, 2));
  else {
    printEntry(entryOf(pf));
    for (const entry of entries)
      printEntry(entry, entry.openIn.length === 0 ? [] : [`open in ${holdersText(entry.openIn)}`]);
  }
}

function entriesOf(pf: PciFunction): VirtualFunctionEntry[] {
  const holders = virtualFunctionHolders(pf.bdf, pf.virtualFunctions);
  return pf.virtualFunctions.map((bdf) => ({
    ...entryOf(readPciFunction(bdf)),
    openIn: holders.get(bdf) ?? [],
  }));
}
