/** Small text files and links of sysfs and procfs. What can't be read is undefined: an attribute may be absent or vanish. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { basename } from "node:path";
import { SysError } from "../core/errors.js";
import { assertLinux } from "../core/platform.js";

const PART_BYTES = 128 * 1024;

function tried<T>(read: () => T): T | undefined {
  assertLinux();
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Content of a file without blanks and line breaks at its ends; undefined if it can't be read. @throws UnsupportedError */
export function kernelText(path: string): string | undefined {
  return tried(() => readFileSync(path, "utf8").trim());
}

/** Names in a folder, sorted; undefined if it can't be read. @throws UnsupportedError */
export function kernelNames(path: string): string[] | undefined {
  return tried(() => readdirSync(path).sort());
}

/** What a link leads to, as the kernel writes it; undefined if it can't be read. @throws UnsupportedError */
export function kernelLink(path: string): string | undefined {
  return tried(() => readlinkSync(path));
}

/** Last component of a link's target; undefined if it can't be read. @throws UnsupportedError */
export function kernelLinkName(path: string): string | undefined {
  return tried(() => basename(readlinkSync(path)));
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
