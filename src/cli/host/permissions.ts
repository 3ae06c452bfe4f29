/** `iova permissions`: gives devices to a user or a group. */
import {
  grantPermissions,
  type PermissionPlan,
  planPermissions,
  revokePermissions,
} from "../../host/permissions.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { permissionsDescription } from "../described/permissions.js";
import { interruptible } from "../interruptible.js";
import { print, printJson } from "../terminal.js";
import { plannedText } from "./planned.js";
import { noteLeftovers, printRestored } from "./restore.js";
import { sizeOf } from "./size.js";

/** @throws ConfigError, and as grantPermissions() and revokePermissions() */
export async function runPermissions(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(permissionsDescription, argv);
  const { user, group, json: isJson = false } = values;
  if ((user === undefined) === (group === undefined))
    throw usageError(permissionsDescription, "permissions needs either --user or --group");
  const devices = positionals.map(parseBdf);
  if (values.remove === true) {
    if (values["dry-run"] === true || values.memlock !== undefined)
      throw usageError(permissionsDescription, "--remove goes with neither --dry-run nor --memlock");
    await remove({ user, group, ...(devices.length === 0 ? {} : { devices }) }, isJson);
    return;
  }
  if (devices.length === 0) throw usageError(permissionsDescription, "permissions needs a BDF");
  const options = { user, group, devices, memlockBytes: memlockOf(values.memlock) };
  const plan = planPermissions(options);
  if (values["dry-run"] === true) {
    if (isJson) printJson(plan);
    else print(planText(plan));
    return;
  }
  const changes = await interruptible((signal) => grantPermissions({ ...options, signal }));
  if (isJson) printJson({ changes, notes: plan.notes });
  else {
    const made = changes.map(({ id, purpose }) => `change ${id}: ${purpose}`);
    print([...(made.length === 0 ? ["everything was so already"] : made), ...plan.notes].join("\n"));
  }
}

async function remove(options: Parameters<typeof revokePermissions>[0], isJson: boolean): Promise<void> {
  const restored = await revokePermissions(options);
  if (isJson) {
    noteLeftovers(restored);
    printJson(restored);
  } else printRestored(restored);
}

/** The value of --memlock, in bytes. @throws ConfigError */
export function memlockOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  return text === "unlimited" ? Number.POSITIVE_INFINITY : sizeOf(permissionsDescription, "--memlock", text);
}

/** The files and commands of a plan, as text. */
export function planText({ parts, notes }: PermissionPlan): string {
  if (parts.length === 0) return "everything is so already";
  return [...parts.flatMap(({ purpose, steps }) => [`# ${purpose}`, plannedText(steps)]), ...notes].join(
    "\n",
  );
}
