/** Writes a new folder completely or not at all. */
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { StateError } from "../../core/errors.js";

/**
 * @param folder absolute path of a folder that is empty or doesn't exist
 * @param files texts by their paths in it
 * @throws StateError, and leaves nothing behind
 */
export function writeNewFolder(folder: string, files: ReadonlyMap<string, string>): void {
  checkEmpty(folder);
  const made: string[] = [];
  try {
    for (const [path, text] of files) {
      const file = join(folder, path);
      const first = mkdirSync(dirname(file), { recursive: true });
      if (first !== undefined) made.push(first);
      // Fails for a file that somebody else has made meanwhile, which isn't ours to remove then.
      const fd = openSync(file, "wx");
      made.push(file);
      try {
        writeFileSync(fd, text);
      } finally {
        closeSync(fd);
      }
    }
  } catch (error) {
    for (const path of made.reverse()) rmSync(path, { recursive: true, force: true });
    throw failure(folder, error);
  }
}

/** @throws StateError */
function checkEmpty(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    if (codeOf(error) === "ENOTDIR")
      throw new StateError(`${folder} can't be a new folder: it, or a part of its path, is a file`);
    throw failure(folder, error);
  }
  const [name] = names;
  if (name !== undefined)
    throw new StateError(
      `${folder} isn't empty, it has ${name}: choose another folder by --dir, or empty this one`,
    );
}

function codeOf(error: unknown): unknown {
  return Object(error).code;
}

function failure(folder: string, cause: unknown): StateError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StateError(`the package can't be written to ${folder}: ${reason}`, { cause });
}
