/** `iova sriov`: sets the number of virtual functions of a function. */
import { BindError } from "../pci/bind.js";
import { readPciFunction } from "../pci/sysfs.js";
import { createVirtualFunctions, removeVirtualFunctions } from "../pci/virtual-functions.js";
import { parseCommandLine, stepTimeoutOf, usageError } from "./command-line.js";
import { sriovDescription } from "./described/sriov.js";
import { print, printJson } from "./terminal.js";

/** @throws ConfigError, and as createVirtualFunctions() and removeVirtualFunctions() */
export async function runSriov(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(sriovDescription, argv);
  const timeoutMs = stepTimeoutOf(sriovDescription, values.timeout);
  const { driver } = values;
  const [address, wanted, ...more] = positionals;
  if (address === undefined || more.length > 0)
    throw usageError(sriovDescription, "sriov takes a BDF and a number");
  if (wanted !== undefined && !/^\d{1,5}$/.test(wanted))
    throw usageError(sriovDescription, `${JSON.stringify(wanted)}: expected a number of virtual functions`);
  if (driver !== undefined && driver !== "vfio-pci")
    throw usageError(sriovDescription, `--driver ${JSON.stringify(driver)}: expected vfio-pci`);
  const { bdf, virtualFunctions, maxVirtualFunctions } = readPciFunction(address);
  const before = virtualFunctions.length;
  const count = wanted === undefined ? undefined : Number(wanted);
  if (count !== undefined && count !== before) {
    if (count > maxVirtualFunctions && maxVirtualFunctions > 0)
      throw usageError(
        sriovDescription,
        `${bdf} can have at most ${maxVirtualFunctions} virtual functions, got ${count}`,
      );
    await removeVirtualFunctions(bdf, { timeoutMs });
    if (count > 0) await createOrRestore(bdf, count, before, { timeoutMs, driver });
  }
  const now = readPciFunction(bdf);
  if (values.json === true) {
    printJson({ bdf, virtualFunctions: now.virtualFunctions, maxVirtualFunctions: now.maxVirtualFunctions });
    return;
  }
  const list = now.virtualFunctions.length === 0 ? "" : `: ${now.virtualFunctions.join(", ")}`;
  print(`${bdf} has ${now.virtualFunctions.length} of ${now.maxVirtualFunctions} virtual functions${list}`);
}

/** @throws what createVirtualFunctions() throws; BindError: nor are there as many as before */
async function createOrRestore(
  bdf: string,
  count: number,
  before: number,
  options: { readonly timeoutMs: number | undefined; readonly driver: "vfio-pci" | undefined },
): Promise<void> {
  try {
    const created = await createVirtualFunctions(bdf, count, options);
    // They outlive this process.
    created.relinquish();
  } catch (error) {
    if (before === 0) throw error;
    const reason = (each: unknown): string => (each instanceof Error ? each.message : String(each));
    try {
      (await createVirtualFunctions(bdf, before, { timeoutMs: options.timeoutMs })).relinquish();
    } catch (cause) {
      throw new BindError(
        `${reason(error)}; nor could the ${before} of before be made again: ${reason(cause)}`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}
