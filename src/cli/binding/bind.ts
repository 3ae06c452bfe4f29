/** `iova bind`: several functions, of which all are bound or none, now or at each start. */
import { BusyError } from "../../core/errors.js";
import {
  bindPersistently,
  endPersistentBinding,
  planPersistentBinding,
} from "../../host/persistent-binding.js";
import { parseBdf } from "../../pci/bdf.js";
import { bindToVfio } from "../../pci/bind.js";
import type { PciFunction } from "../../pci/sysfs.js";
import { usersOf } from "../../pci/usage.js";
import { vfioDriverFor } from "../../pci/vfio-driver.js";
import { parseCommandLine, stepTimeoutOf, usageError } from "../command-line.js";
import { bindDescription } from "../described/bind.js";
import { plannedText } from "../host/planned.js";
import { printRestored } from "../host/restore.js";
import { interruptible } from "../interruptible.js";
import { print } from "../terminal.js";
import { allOrNone } from "./all-or-none.js";
import { selectFunctions } from "./selection.js";

/** @throws ConfigError, and as bindToVfio() */
export async function runBind(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(bindDescription, argv);
  const { driver, class: classes = [], id: ids = [], group = false, persist = false } = values;
  const isDryRun = values["dry-run"] === true;
  if (values.restore === true) {
    const others = Object.keys(values).filter((name) => name !== "restore");
    if (others.length > 0) throw usageError(bindDescription, "--restore takes addresses and no other option");
    await endPersistence(positionals.map(parseBdf));
    return;
  }
  if (persist && values.timeout !== undefined)
    throw usageError(bindDescription, "--persist goes without --timeout");
  const timeoutMs = stepTimeoutOf(bindDescription, values.timeout);
  const functions = selectFunctions(bindDescription, { addresses: positionals, classes, ids, group });
  assertFree(functions);
  if (persist) {
    await persistently(
      functions.map(({ bdf }) => bdf),
      driver,
      isDryRun,
    );
    return;
  }
  const targets = functions.map((fn) => vfioDriverFor(fn.bdf, driver));
  if (isDryRun) {
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

/** Binds functions now and at each start. @throws as bindPersistently() */
async function persistently(
  devices: readonly string[],
  driver: string | undefined,
  isDryRun: boolean,
): Promise<void> {
  if (isDryRun) {
    for (const { steps } of planPersistentBinding({ devices, driver })) print(plannedText(steps));
    return;
  }
  const changes = await interruptible((signal) => bindPersistently({ devices, driver, signal }));
  print(
    changes.length === 0
      ? "everything was so already"
      : changes.map(({ id, purpose }) => `change ${id}: ${purpose}`).join("\n"),
  );
  if (changes.length > 0) print(`taken back by: iova bind --restore ${devices.join(" ")}`);
}

/** @throws as endPersistentBinding() */
async function endPersistence(devices: readonly string[]): Promise<void> {
  printRestored(await endPersistentBinding(devices.length === 0 ? {} : { devices }));
}
