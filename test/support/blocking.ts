import { SysError } from "../../src/core/errors.js";
import { c, lastErrno } from "../../src/sys/libc.js";

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Takes O_NONBLOCK from an open file, as anybody may who has a descriptor of it. */
export function setBlocking(fd: number): void {
  const flags = c.fcntlNumber(fd, F_GETFL, 0);
  if (c.fcntlNumber(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) throw new SysError("fcntl(F_SETFL)", lastErrno());
}
