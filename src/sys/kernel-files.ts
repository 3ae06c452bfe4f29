/** Small text files and links of sysfs and procfs. What can't be read is undefined: an attribute may be absent or vanish. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { assertLinux } from "../core/platform.js";

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

/** Last component of a link's target; undefined if it can't be read. @throws UnsupportedError */
export function kernelLinkName(path: string): string | undefined {
  return tried(() => basename(readlinkSync(path)));
}
