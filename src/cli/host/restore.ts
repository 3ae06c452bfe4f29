/** `iova restore`: takes back changes to the host. */
import { type HostChange, listChanges } from "../../host/changes/changes.js";
import { type RestoredChange, type RestoreOptions, restoreChanges } from "../../host/changes/restore.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { restoreDescription } from "../described/restore.js";
import { print, printError, printJson } from "../terminal.js";

/** @throws ConfigError, ArgumentError (no such change), BusyError, HostChangeError */
export async function runRestore(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(restoreDescription, argv);
  const { list, leave, json, "dry-run": dryRun = false } = values;
  if (list === true) {
    if (positionals.length > 0) throw usageError(restoreDescription, "--list takes no ID");
    printList(json === true);
    return;
  }
  const ids = positionals.map((text) => {
    if (!/^[1-9]\d{0,8}$/.test(text))
      throw usageError(
        restoreDescription,
        `${JSON.stringify(text)}: expected the number of a change, as --list prints it`,
      );
    return Number(text);
  });
  await restoreAndTell({ ids: ids.length === 0 ? undefined : ids, dryRun, leave }, json === true);
}

/** Takes back, says what became of it, and sets the exit status. @throws as restoreChanges() */
export async function restoreAndTell(options: RestoreOptions, isJson: boolean): Promise<void> {
  const { root, record, dryRun = false, leave = false } = options;
  noteDamage(listChanges({ root, record }).damagedLines);
  const restored = await restoreChanges(options);
  if (isJson) {
    if (!leave) noteLeftovers(restored);
    printJson(restored);
    return;
  }
  if (restored.length === 0) print("nothing to take back");
  printRestored(restored, { dryRun, leave });
}

/** The exit status is 1 if something couldn't be taken back. */
export function noteLeftovers(restored: readonly RestoredChange[]): void {
  if (restored.some(({ left }) => left.length > 0)) process.exitCode = 1;
}

/** Says what became of changes, and sets the exit status unless what is left was to be. */
export function printRestored(
  restored: readonly RestoredChange[],
  { dryRun = false, leave = false }: { readonly dryRun?: boolean; readonly leave?: boolean | undefined } = {},
): void {
  if (!leave) noteLeftovers(restored);
  for (const each of restored) {
    print(restoredText(each, dryRun));
    for (const { step, reason } of each.left) printError(`change ${each.change.id}: ${step}: ${reason}`);
  }
}

function printList(isJson: boolean): void {
  const found = listChanges();
  if (isJson) printJson(found);
  else print(found.changes.length === 0 ? "no changes" : found.changes.map(changeText).join("\n"));
  noteDamage(found.damagedLines);
}

/** The exit status is 1 if lines of the record are damaged. */
function noteDamage(damagedLines: readonly number[]): void {
  if (damagedLines.length === 0) return;
  process.exitCode = 1;
  printError(
    `lines of the record of changes can't be read, and changes may be missing: ${damagedLines.join(", ")}. ` +
      "Take back what can be read (iova restore), look into /var/lib/iova/changes for the rest, then move it away",
  );
}

/** A change, and what was done. */
export function changeText({ id, time, state, purpose, steps }: HostChange): string {
  return [`${id}  ${time}  ${state}: ${purpose}`, ...steps.map((step) => `     ${step}`)].join("\n");
}

/** What became of a change. */
export function restoredText({ change, steps, left }: RestoredChange, isDryRun: boolean): string {
  const name = `change ${change.id} (${change.purpose})`;
  if (isDryRun) return [`${name} would be taken back:`, ...steps.map((step) => `  ${step}`)].join("\n");
  const kept = change.state === "restored" ? "" : ", and stays in the list";
  return left.length === 0 ? `${name} is taken back` : `${name} is taken back in part${kept}`;
}
