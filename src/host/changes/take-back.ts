/** Takes steps back, the last first. */
import type { RecordedChange, RecordedStep } from "./changes.js";
import { undoText } from "./changes.js";
import type { Entry, Undo } from "./entries.js";
import { adviceOf, reasonOf } from "./errors.js";
import { takeBackAttribute, takeBackFile, takeBackOwner } from "./file-steps.js";
import { assertProgram, runProgram } from "./programs.js";
import type { OpenRecord } from "./record.js";

/** How steps are taken back. */
export interface TakeBackOptions {
  readonly root: string;
  /** Whether the machine has started anew since: what lasts until then is gone. */
  readonly isOtherBoot: boolean;
  /** Looks whether it can be done, and does nothing. */
  readonly isDryRun: boolean;
}

/** A command that is its own undo brings something up to date, such as a boot loader's configuration. */
export function isOwnUndo(argv: readonly string[], undo: readonly string[] | null | undefined): boolean {
  return undo?.join("\0") === argv.join("\0");
}

function isRefresh({ undo }: RecordedStep): boolean {
  return undo.kind === "command" && isOwnUndo(undo.argv, undo.undo);
}

/** Steps in the order in which they are taken back. What brings up to date comes after what it reads. */
export function backwards(steps: readonly RecordedStep[]): RecordedStep[] {
  const open = steps.filter(({ isUndone }) => !isUndone);
  return [...open.filter((step) => !isRefresh(step)).toReversed(), ...open.filter(isRefresh)];
}

/** Takes one step back. @throws HostChangeError, Error */
async function takeBackStep(step: RecordedStep, options: TakeBackOptions): Promise<void> {
  const { undo } = step;
  const { root, isOtherBoot, isDryRun } = options;
  switch (undo.kind) {
    case "file":
      return takeBackFile(root, undo, isDryRun);
    case "attribute":
      return isOtherBoot ? undefined : takeBackAttribute(root, undo, isDryRun);
    case "owner":
      return isOtherBoot ? undefined : takeBackOwner(root, undo, isDryRun);
    case "command":
      if (undo.undo === null) return;
      if (isDryRun) return assertProgram(root, undo.undo);
      try {
        await runProgram(root, undo.undo);
      } catch (error) {
        // A command that was interrupted may not have done anything.
        if (step.isDone) throw error;
      }
  }
}

/** What couldn't be taken back, and why. */
export interface Leftover {
  /** What was done, in words. */
  readonly step: string;
  /** Why it stays. */
  readonly reason: string;
}

/**
 * Takes back what is left of a change, and records that. A step that can't be taken back doesn't keep the others from it, nor does a
 * record that can't be written, which is one of what is left.
 * @param record undefined: nothing is recorded
 */
export async function takeBack(
  change: RecordedChange,
  record: OpenRecord | undefined,
  options: TakeBackOptions,
): Promise<Leftover[]> {
  const left: Leftover[] = [];
  let recordError: string | undefined;
  const note = (entry: Entry): void => {
    try {
      record?.append(entry);
    } catch (error) {
      recordError ??= reasonOf(error);
    }
  };
  for (const step of backwards(change.steps)) {
    try {
      await takeBackStep(step, options);
      note({ kind: "undone", change: change.id, step: step.index });
    } catch (error) {
      const { undo } = step;
      const advice = adviceOf(error, "path" in undo ? undo.path : undefined, "Taking it back");
      left.push({ step: undoText(undo), reason: `${reasonOf(error)}${advice}` });
    }
  }
  if (left.length === 0) note({ kind: "restored", change: change.id });
  return recordError === undefined ? left : [...left, { step: "recording that", reason: recordError }];
}

/** What takes a step back, in words. */
export function takeBackText(undo: Undo): string {
  switch (undo.kind) {
    case "command":
      return undo.undo === null ? `nothing for ${undo.argv.join(" ")}` : undo.undo.join(" ");
    case "file":
      return undo.before === null ? `remove ${undo.path}` : `write ${undo.path} as it was`;
    case "attribute":
      return `set ${undo.path} to ${undo.before}`;
    case "owner": {
      const { uid, gid, mode } = undo.before;
      return `give ${undo.path} to ${uid}:${gid}, mode ${mode.toString(8).padStart(4, "0")}`;
    }
  }
}
