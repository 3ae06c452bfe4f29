/** Small text files and links of sysfs and procfs. What can't be read is undefined: an attribute may be absent or vanish. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

/** Content of a file without blanks and line breaks at its ends; undefined if it can't be read. */
export function kernelText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** Names in a folder, sorted; undefined if it can't be read. */
export function kernelNames(path: string): string[] | undefined {
  try {
    return readdirSync(path).sort();
  } catch {
    return undefined;
  }
}

/** Last component of a link's target; undefined if it can't be read. */
export function kernelLinkName(path: string): string | undefined {
  try {
    return basename(readlinkSync(path));
  } catch {
    return undefined;
  }
}
