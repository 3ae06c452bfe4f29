/** `iova vfs`: lists, creates and removes the virtual functions of a PCI function. */
import { type PciFunction, readPciFunction } from "../pci/sysfs.js";
import { holdersText, type VfioHolder, virtualFunctionHolders } from "../pci/usage.js";
import { createVirtualFunctions, removeVirtualFunctions } from "../pci/virtual-functions.js";
import { onlyOperand, parseCommandLine, stepTimeoutOf, usageError } from "./command-line.js";
import { vfsDescription } from "./described/vfs.js";
import { entryOf, type ListEntry, printEntry } from "./list.js";
import { print, printJsonText } from "./terminal.js";

/** A virtual function as `iova vfs --json` prints it. */
interface VirtualFunctionEntry extends ListEntry {
  /** Processes that have it open through VFIO, as far as this user may see. */
  readonly openIn: readonly VfioHolder[];
}

/** @throws ConfigError, and as createVirtualFunctions() and removeVirtualFunctions() */
export async function runVfs(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(vfsDescription, argv);
  const { create, driver } = values;
  const [json, remove] = [values.json === true, values.remove === true];
  const timeoutMs = stepTimeoutOf(vfsDescription, values.timeout);
  const address = onlyOperand(vfsDescription, positionals, "BDF");
  const wrong = (problem: string) => usageError(vfsDescription, problem);
  if (create !== undefined && remove) throw wrong("vfs takes either --create or --remove");
  if (driver !== undefined && create === undefined) throw wrong("--driver is for what --create makes");
  if (driver !== undefined && driver !== "vfio-pci")
    throw wrong(`--driver ${JSON.stringify(driver)}: expected vfio-pci`);
  if (create !== undefined) {
    if (!/^\d+$/.test(create)) throw wrong(`--create ${JSON.stringify(create)}: expected a number`);
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
