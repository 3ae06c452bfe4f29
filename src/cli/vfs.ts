/** `iova vfs`: lists the virtual functions of a PCI function. `iova sriov` sets their number. */
import { ifThere, type PciFunction, readPciFunction } from "../pci/sysfs.js";
import { holdersText, type VfioHolder, virtualFunctionHolders } from "../pci/usage/holders.js";
import { onlyOperand, parseCommandLine } from "./command-line.js";
import { vfsDescription } from "./described/vfs.js";
import { entryOf, type ListEntry, printEntry } from "./list.js";
import { printJson } from "./terminal.js";

/** A virtual function as `iova vfs --json` prints it. */
interface VirtualFunctionEntry extends ListEntry {
  /** Processes that have it open through VFIO, as far as this user may see. */
  readonly openIn: readonly VfioHolder[];
}

/** @throws ConfigError; ArgumentError (no such device) */
export async function runVfs(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(vfsDescription, argv);
  const address = onlyOperand(vfsDescription, positionals, "BDF");
  // Of a virtual function: it and those beside it.
  const asked = readPciFunction(address);
  const pf = asked.physicalFunction === undefined ? asked : readPciFunction(asked.physicalFunction);
  const entries = entriesOf(pf);
  if (values.json === true) printJson({ ...entryOf(pf), virtualFunctions: entries });
  else {
    printEntry(entryOf(pf));
    for (const entry of entries)
      printEntry(entry, entry.openIn.length === 0 ? [] : [`open in ${holdersText(entry.openIn)}`]);
  }
}

function entriesOf(pf: PciFunction): VirtualFunctionEntry[] {
  const holders = virtualFunctionHolders(pf.bdf, pf.virtualFunctions);
  return pf.virtualFunctions.flatMap((bdf) => {
    const entry = ifThere(() => entryOf(readPciFunction(bdf)));
    return entry === undefined ? [] : { ...entry, openIn: holders.get(bdf) ?? [] };
  });
}
