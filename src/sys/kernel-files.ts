/**
 * Small files, folders and links: of sysfs and procfs (`kernel...`, on Linux alone), and of any tree of files. What can't be read is
 * undefined: it may be absent, or vanish.
 */
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import { basename } from "node:path";
import { SysError } from "../core/errors.js";
import { assertLinux } from "../core/platform.js";

const PART_BYTES = 128 * 1024;

/** Larger files are neither attributes nor configuration. */
const MAX_BYTES = 32 * 1024 * 1024;

/** The result of a read; undefined if it fails. */
export function tried<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Content of an ordinary file: reading a pipe or a device could wait without end. */
export function fileBytes(path: string): Uint8Array | undefined {
  return tried(() => {
    const state = statSync(path);
    return state.isFile() && state.size <= MAX_BYTES ? readFileSync(path) : undefined;
  });
}

/** Content of a text file, without blanks and line breaks at its ends. */
export function fileText(path: string): string | undefined {
  const bytes = fileBytes(path);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString("utf8").trim();
}

/** Names in a folder, sorted. */
export function folderNames(path: string): string[] | undefined {
  return tried(() => readdirSync(path).sort());
}

/** What a link leads to, as it is written. */
export function linkTarget(path: string): string | undefined {
  return tried(() => readlinkSync(path));
}

/** The path without links. */
export function realPath(path: string): string | undefined {
  return tried(() => realpathSync(path));
}

/** Content of a file without blanks and line breaks at its ends; undefined if it can't be read. @throws UnsupportedError */
export function kernelText(path: string): string | undefined {
  assertLinux();
  return fileText(path);
}

/** Names in a folder, sorted; undefined if it can't be read. @throws UnsupportedError */
export function kernelNames(path: string): string[] | undefined {
  assertLinux();
  return folderNames(path);
}

/** What a link leads to, as the kernel writes it; undefined if it can't be read. @throws UnsupportedError */
export function kernelLink(path: string): string | undefined {
  assertLinux();
  return linkTarget(path);
}

/** Last component of a link's target; undefined if it can't be read. @throws UnsupportedError */
export function kernelLinkName(path: string): string | undefined {
  assertLinux();
  const target = linkTarget(path);
  return target === undefined ? undefined : basename(target);
}

/** The path without links; undefined if there is no such file. @throws UnsupportedError */
export function kernelRealPath(path: string): string | undefined {
  assertLinux();
  return realPath(path);
}

/**
 * Content of a binary file. A device may stand behind it, so the length that is read has a limit.
 * @throws SysError, UnsupportedError
 */
export function kernelBytes(path: string, maxBytes: number): Uint8Array {
  assertLinux();
  const parts: Uint8Array[] = [];
  let operation = "open";
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    operation = "read";
    for (let room = maxBytes; room > 0; ) {
      const part = new Uint8Array(Math.min(room, PART_BYTES));
      const count = readSync(fd, part, 0, part.length, null);
      if (count === 0) break;
      parts.push(part.subarray(0, count));
      room -= count;
    }
    return Buffer.concat(parts);
  } catch (error) {
    if (error instanceof Error && "errno" in error && typeof error.errno === "number")
      throw new SysError(operation, -error.errno, { object: path, cause: error });
    throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
