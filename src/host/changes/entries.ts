/** The lines of the record: what each says, and how it is written and read. A line that isn't whole is known by its checksum. */
import { createHash } from "node:crypto";

/** Owner and permissions. */
export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** A file as it was: its bytes in base64. */
export interface FileBefore extends Ownership {
  readonly content: string;
}

/** What takes a step back. Everything is in it, since the program that did the step may have been killed. */
export type Undo =
  | {
      readonly kind: "file";
      readonly path: string;
      /** Null if there was none. */
      readonly before: FileBefore | null;
      /** Digest of what the step writes. */
      readonly after: string;
      /** Folders that the step makes, the outermost first. */
      readonly folders: readonly string[];
    }
  | {
      readonly kind: "command";
      readonly argv: readonly string[];
      readonly undo: readonly string[] | null;
    }
  | { readonly kind: "attribute"; readonly path: string; readonly before: string; readonly after: string }
  | { readonly kind: "owner"; readonly path: string; readonly before: Ownership; readonly after: Ownership };

/** One line. `step` is written before a step is done, `did` after; `end` when all are done. */
export type Entry =
  | {
      readonly kind: "begin";
      readonly change: number;
      readonly time: string;
      readonly boot: string;
      readonly purpose: string;
      readonly about: readonly string[];
    }
  | { readonly kind: "step"; readonly change: number; readonly step: number; readonly undo: Undo }
  | { readonly kind: "did"; readonly change: number; readonly step: number }
  | { readonly kind: "undone"; readonly change: number; readonly step: number }
  | { readonly kind: "end"; readonly change: number }
  | { readonly kind: "restored"; readonly change: number };

const DIGEST_DIGITS = 16;

/** A digest that tells files and lines apart. */
export function digest(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, DIGEST_DIGITS);
}

/** The line of an entry, with its line break. */
export function lineOf(entry: Entry): string {
  const json = JSON.stringify(entry);
  return `${digest(json)} ${json}\n`;
}

/** The entry of a line; undefined if it isn't whole, or of another form. Never throws. */
export function parseLine(line: string): Entry | undefined {
  const json = line.slice(DIGEST_DIGITS + 1);
  if (line[DIGEST_DIGITS] !== " " || line.slice(0, DIGEST_DIGITS) !== digest(json)) return undefined;
  try {
    const value: unknown = JSON.parse(json);
    return isEntry(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** All fields that entries have. */
type Field =
  | "kind"
  | "change"
  | "time"
  | "boot"
  | "purpose"
  | "about"
  | "step"
  | "undo"
  | "argv"
  | "path"
  | "before"
  | "after"
  | "folders"
  | "content"
  | "uid"
  | "gid"
  | "mode";

type Fields = { readonly [name in Field]?: unknown };

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isWords(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

function isOwnership(value: unknown): value is Ownership {
  return isObject(value) && isCount(value.uid) && isCount(value.gid) && isCount(value.mode);
}

function isEntry(value: unknown): value is Entry {
  if (!isObject(value) || !isCount(value.change)) return false;
  switch (value.kind) {
    case "begin":
      return (
        typeof value.time === "string" &&
        typeof value.boot === "string" &&
        typeof value.purpose === "string" &&
        isWords(value.about)
      );
    case "step":
      return isCount(value.step) && isUndo(value.undo);
    case "did":
    case "undone":
      return isCount(value.step);
    default:
      return value.kind === "end" || value.kind === "restored";
  }
}

function isUndo(value: unknown): value is Undo {
  if (!isObject(value)) return false;
  const { kind, path, before, after } = value;
  if (kind === "command") return isWords(value.argv) && (value.undo === null || isWords(value.undo));
  if (typeof path !== "string") return false;
  switch (kind) {
    case "file": {
      const isBefore =
        before === null || (isObject(before) && typeof before.content === "string" && isOwnership(before));
      return isBefore && typeof after === "string" && isWords(value.folders);
    }
    case "attribute":
      return typeof before === "string" && typeof after === "string";
    default:
      return kind === "owner" && isOwnership(before) && isOwnership(after);
  }
}
