/** Where changes are made and recorded. */
import { isAbsolute, join } from "node:path";
import { checkString, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { assertLinux } from "../../core/platform.js";

/** Where a host's files are, and the record of changes to it. */
export interface RecordOptions {
  /**
   * Root folder of the files of the host: `/` by default. Programs of another host are those below this folder. They run in it, but on
   * this host's kernel.
   */
  readonly root?: string | undefined;
  /** Folder of the record, which only root may write in; `/var/lib/iova` below the root by default. */
  readonly record?: string | undefined;
}

/** @throws ArgumentError; UnsupportedError: this host doesn't run Linux */
export function placesOf({ root = "/", record }: RecordOptions): {
  readonly root: string;
  readonly folder: string;
} {
  const folder = record ?? join(checkString("root", root), "var/lib/iova");
  for (const [name, path] of Object.entries({ root, record: folder })) {
    if (!isAbsolute(checkString(name, path)))
      throw new ArgumentError(`${name} must be an absolute path, got ${show(path)}`);
  }
  if (root === "/") assertLinux();
  return { root, folder };
}
