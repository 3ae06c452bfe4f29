/** `iova bind`: several functions, of which all are bound or none, now or at each start. */
import { BusyError } from "../../core/errors.js";
import {
  bindPersistently,
  endPersistentBinding,
  planPersistentBinding,
} from "../../host/persistent-binding.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { bindToVfio } from "../../pci/bind.js";
import type { PciFunction } from "../../pci/sysfs.js";
import { usersSearch } from "../../pci/usage/users.js";
import { vfioDriverFor } from "../../pci/vfio-driver.js";
import { parseCommandLine, stepTimeoutOf, usageError } from "../command-line.js";
import { bindDescription } from "../described/bind.js";
import { plannedText } from "../host/planned.js";
import { noteLeftovers, printRestored } from "../host/restore.js";
import { interruptible } from "../interruptible.js";
import { print, printJson } from "../terminal.js";
import { allOrNone } from "./all-or-none.js";
import { selectFunctions } from "./selection.js";

/** @throws ConfigError, and as bindToVfio() */
export async function runBind(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(bindDescription, argv);
  const { driver, class: classes = [], id: ids = [], group = false, persist = false } = values;
  const isDryRun = values["dry-run"] === true;
  const isJson = values.json === true;
  if (values.restore === true) {
    const others = Object.keys(values).filter((name) => name !== "restore" && name !== "json");
    if (others.length > 0)
      throw usageError(bindDescription, "--restore takes addresses and no other option but --json");
    await endPersistence(positionals.map(parseBdf), isJson);
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
      isJson,
    );
    return;
  }
  const targets = functions.map((fn) => vfioDriverFor(fn.bdf, driver));
  const results: Bound[] = functions.map(({ bdf, driver: before }, at) => ({
    ...{ bdf, before, bound: false },
    ...targets[at],
  }));
  if (!isDryRun)
    await allOrNone(results, (result) => {
      const binding = bindToVfio(result.bdf, { timeoutMs, driver });
      Object.assign(result, { driver: binding.driver, before: binding.previousDriver, bound: true });
      // The binding outlives this process.
      binding.relinquish();
      return { name: result.bdf, undo: () => binding.close() };
    });
  if (isJson) printJson(results);
  else print(results.map(resultText).join("\n"));
}

/** What became of a function; what `--json` prints. */
interface Bound {
  readonly bdf: string;
  /** Its driver before; undefined if it had none. */
  before: string | undefined;
  /** The VFIO driver; undefined while nothing is done, and only the driver's module knows its name. */
  driver?: string | undefined;
  /** The driver's kernel module. */
  readonly module?: string | undefined;
  /** false: it would be bound. */
  bound: boolean;
}

function resultText({ bdf, before, driver, module, bound }: Bound): string {
  if (bound) return `${bdf} is bound to ${driver} (before: ${before ?? "no driver"})`;
  const to = driver ?? `the driver of the kernel module ${module}`;
  return before === to
    ? `${bdf} stays bound to ${to}`
    : `${bdf} would be bound to ${to} (now: ${before ?? "no driver"})`;
}

/** Before anything is changed. @throws BusyError that names every user */
function assertFree(functions: readonly PciFunction[]): void {
  const usersOf = usersSearch();
  const users = functions.flatMap(({ bdf }) => usersOf(bdf).map((user) => `${bdf}: ${user}`));
  if (users.length > 0) throw new BusyError(`nothing is bound: ${users.join("; ")}`);
}

/** Binds functions now and at each start. @throws as bindPersistently() */
async function persistently(
  devices: readonly string[],
  driver: string | undefined,
  isDryRun: boolean,
  isJson: boolean,
): Promise<void> {
  if (isDryRun) {
    const plans = planPersistentBinding({ devices, driver });
    if (isJson) printJson(plans);
    else for (const { steps } of plans) print(plannedText(steps));
    return;
  }
  const changes = await interruptible((signal) => bindPersistently({ devices, driver, signal }));
  if (isJson) {
    printJson(changes);
    return;
  }
  print(
    changes.length === 0
      ? "everything was so already"
      : changes.map(({ id, purpose }) => `change ${id}: ${purpose}`).join("\n"),
  );
  if (changes.length > 0) print(`taken back by: iova bind --restore ${devices.join(" ")}`);
}

/** @throws as endPersistentBinding() */
async function endPersistence(devices: readonly string[], isJson: boolean): Promise<void> {
  const restored = await endPersistentBinding(devices.length === 0 ? {} : { devices });
  if (!isJson) {
    printRestored(restored);
    return;
  }
  noteLeftovers(restored);
  printJson(restored);
}
