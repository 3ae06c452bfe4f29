/** Recorded changes, made of the lines of the record. */
import { checkKeys } from "../../core/check.js";
import type { Entry, Undo } from "./entries.js";
import { placesOf, type RecordOptions } from "./options.js";
import { readRecord } from "./record.js";

/**
 * `applied`: all steps are done. `interrupted`: the program ended in between, so that some are. `restored`: all are taken back.
 */
export type ChangeState = "applied" | "interrupted" | "restored";

/** A recorded change to the host. */
export interface HostChange {
  /** Numbers changes from 1. */
  readonly id: number;
  /** When it began, as ISO 8601 text in UTC. */
  readonly time: string;
  /** What it was made for, in words. */
  readonly purpose: string;
  /** Words by which programs find their changes. */
  readonly about: readonly string[];
  /** Where it stands. */
  readonly state: ChangeState;
  /** What was done, in words, in order. */
  readonly steps: readonly string[];
}

/** What a record holds. */
export interface ChangeList {
  /** The oldest first. */
  readonly changes: readonly HostChange[];
  /** Numbers of the record's lines that can't be read, from 1. Changes of these lines may be missing. */
  readonly damagedLines: readonly number[];
}

/** A step as the record has it. */
export interface RecordedStep {
  readonly index: number;
  readonly undo: Undo;
  /** Whether it was done to its end; if not, it may have been done. */
  isDone: boolean;
  isUndone: boolean;
}

/** A change as the record has it. */
export interface RecordedChange {
  readonly id: number;
  readonly time: string;
  readonly boot: string;
  readonly purpose: string;
  readonly about: readonly string[];
  readonly steps: RecordedStep[];
  state: ChangeState;
}

/** Puts lines together. A change whose beginning is missing has an unknown purpose. */
export function changesOf(entries: readonly Entry[]): RecordedChange[] {
  const found = new Map<number, RecordedChange>();
  for (const entry of entries) {
    const known = found.get(entry.change) ?? unknownChange(entry.change);
    found.set(entry.change, entry.kind === "begin" ? { ...known, ...beginning(entry) } : known);
    switch (entry.kind) {
      case "begin":
        break;
      case "step":
        known.steps.push({ index: entry.step, undo: entry.undo, isDone: false, isUndone: false });
        break;
      case "end":
        known.state = "applied";
        break;
      case "restored":
        known.state = "restored";
        break;
      default:
        note(known, entry.step, entry.kind);
    }
  }
  return [...found.values()].sort((a, b) => a.id - b.id);
}

function unknownChange(id: number): RecordedChange {
  const purpose = "unknown, since the record is damaged";
  return { id, time: "", boot: "", purpose, about: [], steps: [], state: "interrupted" };
}

function beginning({
  time,
  boot,
  purpose,
  about,
}: Extract<Entry, { readonly kind: "begin" }>): Partial<RecordedChange> {
  return { time, boot, purpose, about };
}

function note({ steps }: RecordedChange, index: number, what: "did" | "undone"): void {
  const step = steps.find((each) => each.index === index);
  if (step === undefined) return;
  if (what === "did") step.isDone = true;
  else step.isUndone = true;
}

/** A recorded step in words. */
export function undoText(undo: Undo): string {
  switch (undo.kind) {
    case "command":
      return undo.argv.join(" ");
    case "file":
      return `${undo.before === null ? "made" : "changed"} ${undo.path}`;
    case "attribute":
      return `set ${undo.path} to ${undo.after} (before: ${undo.before})`;
    case "owner": {
      const { uid, gid, mode } = undo.after;
      return `gave ${undo.path} to ${uid}:${gid}, mode ${mode.toString(8).padStart(4, "0")}`;
    }
  }
}

/** A change as programs see it. */
export function shownChange({ id, time, purpose, about, state, steps }: RecordedChange): HostChange {
  return { id, time, purpose, about, state, steps: steps.map(({ undo }) => undoText(undo)) };
}

/**
 * Reads the record of changes to the host; it is empty if there is none.
 * @throws ArgumentError; HostChangeError: it can't be read, which needs root
 */
export function listChanges(options: RecordOptions = {}): ChangeList {
  checkKeys("options", options, ["root", "record"]);
  const { entries, damaged } = readRecord(placesOf(options).folder);
  return { changes: changesOf(entries).map(shownChange), damagedLines: damaged };
}
