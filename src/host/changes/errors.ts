/** The error of changes to the host. */
import { IovaError } from "../../core/errors.js";

/** A change to the host failed and was undone, or can't be taken back. The message says which, and what is left. */
export class HostChangeError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_HOST_CHANGE", message, options);
  }
}

/**
 * What to do about a file that can't be changed, as a further sentence; empty where there is nothing to say.
 * @param path of the file, as the host names it
 * @param what takes root, in words
 */
export function adviceOf(error: unknown, path: string | undefined, what: string): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EACCES" || code === "EPERM") return `. ${what} needs root`;
  if (code === "ELOOP") return ". A symbolic link is in its place, which isn't followed: move it away";
  if (code === "ENOSPC" || code === "EDQUOT" || /No space left on device/.test(reasonOf(error)))
    return `. Free space on ${path === undefined ? "the file system that it writes to" : `the file system of ${path}`}, and try again`;
  // Programs say it in words.
  if (code !== "EROFS" && !/EROFS|Read-only file system/.test(reasonOf(error))) return "";
  const where = path === undefined ? "A file system that it writes to" : `The file system of ${path}`;
  const make = "where the system's configuration is made, if it is made anew at each start (NixOS, ostree)";
  return `. ${where} is mounted read-only: mount it for writing (mount -o remount,rw), or change it ${make}; in a container, on its host`;
}

/** An error as the end of a sentence. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
