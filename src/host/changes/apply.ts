/** Applies steps to the host: all of them, or none. */
import { checkArray, checkKeys, checkString } from "../../core/check.js";
import { checkSignal } from "../../core/listeners.js";
import { HostRoot } from "../facts/root.js";
import { changesOf, type HostChange, type RecordedChange, shownChange } from "./changes.js";
import type { Undo } from "./entries.js";
import { adviceOf, HostChangeError, reasonOf } from "./errors.js";
import {
  prepareAttribute,
  prepareFile,
  prepareOwner,
  setOwner,
  writeAttribute,
  writeFileStep,
} from "./file-steps.js";
import { placesOf, type RecordOptions } from "./options.js";
import { assertProgram, runProgram } from "./programs.js";
import { OpenRecord } from "./record.js";
import { type ChangeStep, checkSteps, stepText } from "./steps.js";
import { takeBack } from "./take-back.js";

/** Options of {@link applySteps}. */
export interface ApplyOptions extends RecordOptions {
  /** What the change is for, in words; the record has it. */
  readonly purpose: string;
  /** Words by which programs find their changes in the record. */
  readonly about?: readonly string[] | undefined;
  /** Gives up between two steps: what was done is undone, and the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Identifies a start of the machine. */
export function bootOf(root: string): string {
  return new HostRoot(root).text("/proc/sys/kernel/random/boot_id") ?? "";
}

/**
 * Changes the host, which needs root: all steps are done, or none. The record has how to take each step back before it is done, so that
 * {@link restoreChanges} can do it even after this program was killed. Files are replaced as a whole; symbolic links are left alone.
 * Programs run without a shell. Steps that have nothing to change are left out.
 * @returns undefined if no step has anything to change
 * @throws as a rejection: ArgumentError; BusyError: another program is changing this host; HostChangeError: a step failed, and those
 *   before it are undone, or the record can't be used; the signal's reason
 */
export async function applySteps(
  steps: readonly ChangeStep[],
  options: ApplyOptions,
): Promise<HostChange | undefined> {
  checkKeys("options", options, ["root", "record", "purpose", "about", "signal"]);
  checkSteps(steps);
  const { about = [] } = options;
  const purpose = checkString("purpose", options.purpose);
  checkArray("about", about);
  for (const word of about) checkString("about", word);
  const signal = checkSignal(options.signal);
  signal?.throwIfAborted();
  const { root, folder } = placesOf(options);
  const wanted = steps.filter((step) => isNeeded(root, step));
  if (wanted.length === 0) return undefined;
  using record = OpenRecord.open(folder);
  const id = nextId(record);
  const boot = bootOf(root);
  const change: RecordedChange = {
    id,
    time: new Date().toISOString(),
    boot,
    purpose,
    about,
    steps: [],
    state: "interrupted",
  };
  record.append({ kind: "begin", change: id, time: change.time, boot, purpose, about });
  try {
    for (const step of wanted) {
      signal?.throwIfAborted();
      await doStep(root, step, change, record);
    }
    record.append({ kind: "end", change: id });
    change.state = "applied";
  } catch (error) {
    await undo(root, change, record, error);
    throw error;
  }
  return shownChange(change);
}

/** Whether a step changes anything; also finds what can't be done, before anything is. @throws HostChangeError */
function isNeeded(root: string, step: ChangeStep): boolean {
  return prepared(root, step) !== undefined;
}

/** @throws HostChangeError */
function prepared(root: string, step: ChangeStep): Undo | undefined {
  try {
    switch (step.kind) {
      case "file":
        return prepareFile(root, step);
      case "attribute":
        return prepareAttribute(root, step);
      case "owner":
        return prepareOwner(root, step);
      case "command":
        assertProgram(root, step.argv);
        if (step.undo !== undefined) assertProgram(root, step.undo);
        return { kind: "command", argv: step.argv, undo: step.undo ?? null };
    }
  } catch (error) {
    throw failed(step, error);
  }
}

function failed(step: ChangeStep, error: unknown): HostChangeError {
  const advice = adviceOf(error, "path" in step ? step.path : undefined, "Changing the host");
  return new HostChangeError(`"${stepText(step)}" can't be done: ${reasonOf(error)}${advice}`, {
    cause: error,
  });
}

/** The number of the next change. @throws HostChangeError: what is there has to be mended first */
function nextId({ text: { entries, damaged }, path }: OpenRecord): number {
  if (damaged.length > 0) {
    throw new HostChangeError(
      `the record ${path} is damaged at line ${damaged.join(", ")}, so nothing is changed: take back what it still has ` +
        "(iova restore), then move it away",
    );
  }
  const changes = changesOf(entries);
  const open = changes.find(({ state }) => state === "interrupted");
  if (open !== undefined) {
    throw new HostChangeError(
      `change ${open.id} (${open.purpose}) was interrupted, so nothing is changed: first take it back by iova restore ${open.id}`,
    );
  }
  return (changes.at(-1)?.id ?? 0) + 1;
}

/** @throws HostChangeError */
async function doStep(
  root: string,
  step: ChangeStep,
  change: RecordedChange,
  record: OpenRecord,
): Promise<void> {
  const undoing = prepared(root, step);
  // An earlier step may have done it.
  if (undoing === undefined) return;
  const index = change.steps.length;
  record.append({ kind: "step", change: change.id, step: index, undo: undoing });
  const recorded = { index, undo: undoing, isDone: false, isUndone: false };
  change.steps.push(recorded);
  try {
    if (step.kind === "file" && undoing.kind === "file") writeFileStep(root, step, undoing);
    else if (undoing.kind === "attribute") writeAttribute(root, undoing);
    else if (step.kind === "owner") setOwner(root, step.path, step);
    else if (step.kind === "command") await runProgram(root, step.argv);
  } catch (error) {
    throw failed(step, error);
  }
  recorded.isDone = true;
  record.append({ kind: "did", change: change.id, step: index });
}

/** Takes back what was done of a change that failed. @throws HostChangeError: something is left */
async function undo(root: string, change: RecordedChange, record: OpenRecord, error: unknown): Promise<void> {
  const found = await takeBack(change, record, { root, isOtherBoot: false, isDryRun: false });
  if (found.length === 0) return;
  const left = found.map(({ step, reason }) => `${step} (${reason})`).join("; ");
  throw new HostChangeError(
    `${reasonOf(error)}. Not everything could be undone: ${left}. Try iova restore ${change.id} later`,
    { cause: error },
  );
}
