/** Takes recorded changes back. */
import { checkArray, checkBoolean, checkInteger, checkKeys } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { bootOf } from "./apply.js";
import { changesOf, type HostChange, type RecordedChange, shownChange } from "./changes.js";
import { placesOf, type RecordOptions } from "./options.js";
import { OpenRecord, readRecord } from "./record.js";
import { backwards, type Leftover, takeBack, takeBackText } from "./take-back.js";

/** Options of {@link restoreChanges}. */
export interface RestoreOptions extends RecordOptions {
  /** Numbers of the changes; by default all that aren't taken back yet. */
  readonly ids?: readonly number[] | undefined;
  /** Only says what would be done, and what couldn't. */
  readonly dryRun?: boolean | undefined;
  /** What can't be taken back, such as a file that somebody has changed since, is left as it is and forgotten. */
  readonly leave?: boolean | undefined;
}

/** What became of a change. */
export interface RestoredChange {
  /** The change, in its new state. */
  readonly change: HostChange;
  /** What takes it back, in words, in the order in which it is done. */
  readonly steps: readonly string[];
  /** What couldn't be taken back, and why. The change stays `applied` or `interrupted` then, unless `leave` is set. */
  readonly left: readonly Leftover[];
}

/**
 * Takes changes back, the newest first, which needs root. A file that somebody has changed since is left as it is, and named. What
 * lasted until the machine's next start only is counted as taken back after it.
 * @returns what became of each, in the order in which they were taken back
 * @throws as a rejection: ArgumentError: no such change; BusyError: another program is changing this host; HostChangeError: the record
 *   can't be used
 */
export async function restoreChanges(options: RestoreOptions = {}): Promise<RestoredChange[]> {
  checkKeys("options", options, ["root", "record", "ids", "dryRun", "leave"]);
  const { ids, dryRun = false, leave = false } = options;
  checkBoolean("dryRun", dryRun);
  checkBoolean("leave", leave);
  if (ids !== undefined) {
    checkArray("ids", ids);
    for (const id of ids) checkInteger("id", id, 1, Number.MAX_SAFE_INTEGER);
  }
  const { root, folder } = placesOf(options);
  // Without changes to take back, no record is made.
  if (dryRun || chosen(changesOf(readRecord(folder).entries), ids).length === 0) {
    return await restoreAll(chosen(changesOf(readRecord(folder).entries), ids), undefined, root, leave);
  }
  using record = OpenRecord.open(folder);
  return await restoreAll(chosen(changesOf(record.text.entries), ids), record, root, leave);
}

/** The newest first. @throws ArgumentError */
function chosen(all: readonly RecordedChange[], ids: readonly number[] | undefined): RecordedChange[] {
  const open = all.filter(({ state }) => state !== "restored");
  for (const id of ids ?? []) {
    const found = all.find((each) => each.id === id);
    if (found === undefined)
      throw new ArgumentError(`there is no change ${id} in the record: see iova restore --list`);
    if (found.state === "restored") throw new ArgumentError(`change ${id} is taken back already`);
  }
  return open.filter(({ id }) => ids?.includes(id) ?? true).toReversed();
}

/** @param record undefined for a dry run */
async function restoreAll(
  changes: readonly RecordedChange[],
  record: OpenRecord | undefined,
  root: string,
  leave: boolean,
): Promise<RestoredChange[]> {
  const done: RestoredChange[] = [];
  const boot = bootOf(root);
  for (const change of changes) {
    const isOtherBoot = change.boot !== "" && change.boot !== boot;
    const steps = backwards(change.steps).map(({ undo }) => takeBackText(undo));
    const left = await takeBack(change, record, { root, isOtherBoot, isDryRun: record === undefined });
    if (left.length > 0 && leave) record?.append({ kind: "restored", change: change.id });
    const isRestored = record !== undefined && (left.length === 0 || leave);
    done.push({ change: shownChange(isRestored ? { ...change, state: "restored" } : change), steps, left });
  }
  return done;
}
