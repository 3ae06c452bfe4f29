/** `iova bind`: several functions, of which all are bound or none. */
import { BusyError } from "../../core/errors.js";
import { bindToVfio } from "../../pci/bind.js";
import type { PciFunction } from "../../pci/sysfs.js";
import { usersOf } from "../../pci/usage.js";
import { vfioDriverFor } from "../../pci/vfio-driver.js";
import { parseCommandLine, stepTimeoutOf } from "../command-line.js";
import { bindDescription } from "../described/bind.js";
import { print } from "../terminal.js";
import { allOrNone } from "./all-or-none.js";
import { selectFunctions } from "./selection.js";

/** @throws ConfigError, and as bindToVfio() */
export async function runBind(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(bindDescription, argv);
  const { driver, class: classes = [], id: ids = [], group = false } = values;
  const timeoutMs = stepTimeoutOf(bindDescription, values.timeout);
  const functions = selectFunctions(bindDescription, { addresses: positionals, classes, ids, group });
  assertFree(functions);
  const targets = functions.map((fn) => vfioDriverFor(fn.bdf, driver));
  if (values["dry-run"] === true) {
    for (const [index, fn] of functions.entries()) print(planText(fn, targets[index]));
    return;
  }
  const said: string[] = [];
  await allOrNone(functions, ({ bdf }) => {
    const binding = bindToVfio(bdf, { timeoutMs, driver });
    said.push(`${bdf} is bound to ${binding.driver} (before: ${binding.previousDriver ?? "no driver"})`);
    // The binding outlives this process.
    binding.relinquish();
    return { name: bdf, undo: () => binding.close() };
  });
  print(said.join("\n"));
}

/** Before anything is changed. @throws BusyError that names every user */
function assertFree(functions: readonly PciFunction[]): void {
  const users = functions.flatMap(({ bdf }) => usersOf(bdf).map((user) => `${bdf}: ${user}`));
  if (users.length > 0) throw new BusyError(`nothing is bound: ${users.join("; ")}`);
}

function planText(
  { bdf, driver: before }: PciFunction,
  target: ReturnType<typeof vfioDriverFor> | undefined,
): string {
  const to = target?.driver ?? `the driver of the kernel module ${target?.module}`;
  if (before === to) return `${bdf} stays bound to ${to}`;
  return `${bdf} would be bound to ${to} (now: ${before ?? "no driver"})`;
}
