/** Makes a descriptor blocking. */
import { SysError } from "../../src/core/errors.js";
import { c, lastErrno } from "../../src/sys/libc.js";

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Clears O_NONBLOCK of an open file, as anything that has a descriptor of it can do. */
export function setBlocking(fd: number): void {
  const flags = c().fcntlNumber(fd, F_GETFL, 0);
  if (c().fcntlNumber(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
    throw new SysError("fcntl(F_SETFL)", lastErrno());
}
