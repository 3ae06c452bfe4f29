/**
 * Descriptors that close when their thread ends.
 *
 * A worker thread can end at any moment (`worker.terminate()`), without running its code again. Its descriptors, and so the
 * device, would stay open until the process ends. Node closes the files that a worker opened through node:fs, by their
 * numbers. So in a worker, every descriptor gets a number from node:fs.
 */
import { close as closeLater, closeSync, openSync, readlinkSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { Errno, errnoName } from "../core/errno.js";
import { SysError } from "../core/errors.js";
import { c, closeOffThread, lastErrno } from "./libc.js";

/** Not in node:fs; asm-generic/fcntl.h, the same on x86-64 and arm64. */
export const O_CLOEXEC = 0o2000000;

const hints: Readonly<Record<string, string>> = {
  EBADF: "it isn't open, or not for this use: something closed it too early, or gave a wrong number",
  EMFILE: "this process has too many open descriptors: close some, or raise ulimit -n",
};

/** A failed call on a descriptor, which the error names with what it is open on: `descriptor 81 (/dev/vfio/vfio)`. */
export function descriptorError(syscall: string, errno: number, fd: number, hint?: string): SysError {
  let object = `descriptor ${fd}`;
  try {
    object += ` (${readlinkSync(`/proc/self/fd/${fd}`)})`;
  } catch {
    // It isn't open, or there is no /proc.
  }
  return new SysError(syscall, errno, { object, hint: hint ?? hints[errnoName(errno)] });
}

/** Numbers from node:fs, which Node closes at the end of this thread. */
const tracked = new Set<number>();

/**
 * Takes over a new descriptor for this thread. Every function here calls this at once for a descriptor that it makes.
 * @returns the descriptor to use from now on; in a worker it has another number
 * @throws SysError, with the descriptor closed
 */
export function adopt(fd: number): number {
  if (isMainThread || fd < 0) return fd;
  let own: number;
  try {
    own = openSync("/dev/null", "r");
  } catch {
    // Without /dev/null, as in some sandboxes, the descriptor lasts as long as the process.
    return fd;
  }
  const result = c().dup3(fd, own, O_CLOEXEC);
  const errno = lastErrno();
  c().close(fd);
  if (result < 0) {
    closeSync(own);
    throw descriptorError("dup3", errno, fd);
  }
  tracked.add(own);
  return own;
}

/** Takes over all of a list. @throws SysError, with all of them closed */
export function adoptAll(fds: readonly number[]): number[] {
  const own: number[] = [];
  try {
    for (const fd of fds) own.push(adopt(fd));
  } catch (error) {
    for (const fd of fds.slice(own.length + 1)) c().close(fd);
    for (const fd of own) close(fd);
    throw error;
  }
  return own;
}

/** close(2). Never retried: Linux frees the descriptor even when it reports EINTR. @throws SysError */
export function close(fd: number): void {
  if (tracked.delete(fd)) {
    closeSync(fd);
    return;
  }
  if (c().close(fd) < 0 && lastErrno() !== Errno.EINTR) throw descriptorError("close", lastErrno(), fd);
}

/** The same on a thread of libuv's pool. @throws SysError */
export async function closeAsync(fd: number): Promise<void> {
  if (tracked.delete(fd)) {
    await new Promise<void>((resolve, reject) => {
      closeLater(fd, (error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
    return;
  }
  const result = await closeOffThread(fd);
  if (result < 0 && result !== -Errno.EINTR) throw descriptorError("close", -result, fd);
}
