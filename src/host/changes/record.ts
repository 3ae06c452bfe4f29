/**
 * The record of changes: a file that is only appended to, in a folder of root's. Each line is on the disk before what it announces is
 * done, so that a program that is killed, or a machine that loses power, leaves behind how to take everything back.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { BusyError } from "../../core/errors.js";
import { lockFile } from "../../sys/files.js";
import { type Entry, lineOf, parseLine } from "./entries.js";
import { adviceOf, HostChangeError, reasonOf } from "./errors.js";

const FILE = "changes";
/** A longer record is none. */
const MAX_BYTES = 64 * 1024 * 1024;
const OTHERS_MAY_WRITE = 0o022;
const NEWLINE = 10;

/** What a record says. */
export interface RecordText {
  readonly entries: readonly Entry[];
  /** Numbers of lines that can't be read, from 1. A last one that was being written when the machine stopped isn't among them. */
  readonly damaged: readonly number[];
  /** Where the next line belongs: what follows was being written when the machine stopped. */
  readonly length: number;
}

/**
 * Parses a record. Each line is on the disk before the next is written, so that only one can be half written when the machine stops:
 * several bad ones at the end are damage. Never throws.
 */
export function parseRecord(bytes: Uint8Array): RecordText {
  const lines = Buffer.from(bytes).toString("latin1").split("\n");
  // What has no line break at its end isn't whole.
  const rest = lines.pop() ?? "";
  const entries: Entry[] = [];
  const bad: number[] = [];
  let at = 0;
  let length = 0;
  for (const [i, line] of lines.entries()) {
    at += line.length + 1;
    const entry = parseLine(Buffer.from(line, "latin1").toString("utf8"));
    if (entry === undefined) bad.push(i + 1);
    else {
      entries.push(entry);
      length = at;
    }
  }
  const whole = lines.length;
  if (rest !== "") bad.push(whole + 1);
  const last = rest === "" ? whole : whole + 1;
  if (bad.at(-1) !== last) return { entries, damaged: bad, length };
  if (bad.at(-2) === last - 1) return { entries, damaged: bad, length: bytes.length };
  return { entries, damaged: bad.slice(0, -1), length };
}

/** Reads a record without its lock; empty if there is none. @throws HostChangeError: it can't be read */
export function readRecord(folder: string): RecordText {
  const path = join(folder, FILE);
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      return parseRecord(contentOf(fd));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // A folder that can't be looked into may have a record.
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      return parseRecord(new Uint8Array());
    throw unusable(path, error);
  }
}

/** @throws Error */
function contentOf(fd: number): Uint8Array {
  const state = fstatSync(fd);
  if (!state.isFile()) throw new Error("it isn't an ordinary file. Move it away");
  if (state.size > MAX_BYTES)
    throw new Error(`it has ${state.size} bytes, more than ${MAX_BYTES}, so it is no record. Move it away`);
  return readFileSync(fd);
}

function unusable(path: string, error: unknown): HostChangeError {
  const advice = adviceOf(error, path, "The record");
  return new HostChangeError(`the record of changes ${path} can't be used: ${reasonOf(error)}${advice}`, {
    cause: error,
  });
}

/** A record that this process may append to. It has the record's lock until it is disposed of. */
export class OpenRecord implements Disposable {
  private constructor(
    private readonly fd: number,
    readonly path: string,
    readonly text: RecordText,
  ) {}

  /**
   * Opens a record, and makes it if there is none.
   * @throws BusyError: another program has it; HostChangeError: the folder or the file can't be used, or isn't root's alone
   */
  static open(folder: string): OpenRecord {
    const path = join(folder, FILE);
    let fd: number | undefined;
    try {
      makeFolder(folder);
      const isNew = !existsSync(path);
      fd = openSync(
        path,
        constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK,
        0o600,
      );
      if (isNew) syncFolder(folder);
      if (!lockFile(fd))
        throw new BusyError(
          `another program is changing this host, or taking a change back (it holds ${path})`,
        );
      const content = contentOf(fd);
      const text = parseRecord(content);
      ftruncateSync(fd, text.length);
      // The next line must not become a part of a damaged one.
      if (text.length > 0 && content[text.length - 1] !== NEWLINE) writeSync(fd, "\n", text.length);
      return new OpenRecord(fd, path, text);
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      throw error instanceof BusyError ? error : unusable(path, error);
    }
  }

  /** Returns when the line is on the disk. @throws HostChangeError: it isn't, and the record is as before */
  append(entry: Entry): void {
    const line = Buffer.from(lineOf(entry));
    const { size } = fstatSync(this.fd);
    try {
      for (let done = 0; done < line.length; ) {
        done += writeSync(this.fd, line, done, line.length - done, size + done);
      }
      fsyncSync(this.fd);
    } catch (error) {
      // Half a line would be read as none, but the next one must not follow it.
      ftruncateSync(this.fd, size);
      throw unusable(this.path, error);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** @throws Error */
function makeFolder(folder: string): void {
  if (!existsSync(folder)) {
    const parent = dirname(folder);
    if (parent !== folder && !existsSync(parent)) makeFolder(parent);
    mkdirSync(folder, { mode: 0o700 });
    syncFolder(parent);
  }
  const state = lstatSync(folder);
  if (!state.isDirectory()) throw new Error(`${folder} isn't a folder`);
  const own = process.geteuid?.() ?? 0;
  if ((state.uid !== own && state.uid !== 0) || (state.mode & OTHERS_MAY_WRITE) !== 0)
    throw new Error(`other users may write in ${folder}: give it to root, with mode 0700`);
}

/** Puts the names in a folder on the disk. @throws Error */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
