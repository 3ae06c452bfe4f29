/** Files as a store of blocks: positioned reads and writes that complete or fail. */
import { SysError } from "../core/errors.js";
import { adopt, descriptorError } from "./descriptors.js";
import { c, lastErrno } from "./libc.js";
import { O_CLOEXEC } from "./syscalls.js";

const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** open(2) with a mode for a file that is created, always with O_CLOEXEC. @throws SysError */
export function openFile(path: string, flags: number, mode: number): number {
  const fd = c().open(path, flags | O_CLOEXEC, mode);
  if (fd < 0) throw new SysError("open", lastErrno(), { object: path });
  return adopt(fd);
}

/** Takes flock(2) on the whole file until it is closed; false if another open file has it. */
export function lockFile(fd: number): boolean {
  return c().flock(fd, LOCK_EX | LOCK_NB) === 0;
}

/** Releases flock(2) before the file is closed. */
export function unlockFile(fd: number): void {
  c().flock(fd, LOCK_UN);
}

/** Reads until `target` is full; false if the file ends before, or reading fails. */
export function preadAll(fd: number, target: Uint8Array, at: number): boolean {
  for (let done = 0; done < target.length; ) {
    const count = c().pread(fd, done === 0 ? target : target.subarray(done), target.length - done, at + done);
    if (count <= 0) return false;
    done += count;
  }
  return true;
}

/** Writes all of `source`; false if writing fails (ENOSPC, EIO). */
export function pwriteAll(fd: number, source: Uint8Array, at: number): boolean {
  for (let done = 0; done < source.length; ) {
    const count = c().pwrite(
      fd,
      done === 0 ? source : source.subarray(done),
      source.length - done,
      at + done,
    );
    if (count <= 0) return false;
    done += count;
  }
  return true;
}

/** fdatasync(2); false if it fails. */
export function fdatasync(fd: number): boolean {
  return c().fdatasync(fd) === 0;
}

/** Makes a range read as zeros and frees its disk space; false if the file system can't. */
export function punchHole(fd: number, at: number, lengthBytes: number): boolean {
  return c().fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, at, lengthBytes) === 0;
}

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Sets O_NONBLOCK on the open file, or clears it. @throws SysError */
export function setNonBlocking(fd: number, isOn = true): void {
  const flags = c().fcntlNumber(fd, F_GETFL, 0);
  const wanted = isOn ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (flags < 0 || c().fcntlNumber(fd, F_SETFL, wanted) < 0) {
    throw descriptorError("fcntl(F_SETFL)", lastErrno(), fd);
  }
}
