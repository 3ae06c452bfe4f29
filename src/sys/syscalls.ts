/** System calls that throw {@link SysError} and restart after a signal. */
import { constants } from "node:fs";
import { Errno } from "./errno.js";
import { SysError, type SysErrorContext } from "./errors.js";
import { c, closeOffThread, lastErrno } from "./libc.js";
import type { Release } from "./resource.js";

export const O_RDWR = constants.O_RDWR;
/** Not in node:fs; asm-generic/fcntl.h, the same on x86-64 and arm64. */
export const O_CLOEXEC = 0o2000000;

function check(result: number, syscall: string, context: SysErrorContext): number {
  if (result < 0) throw new SysError(syscall, lastErrno(), context);
  return result;
}

/** Repeats a call that a signal interrupted: Node's own handlers may run at any time. */
function restarting(call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0 || lastErrno() !== Errno.EINTR) return result;
  }
}

/** open(2), always with O_CLOEXEC. @throws SysError */
export function open(path: string, flags: number, context: SysErrorContext = {}): number {
  return check(
    restarting(() => c.open(path, flags | O_CLOEXEC, 0)),
    "open",
    { object: path, ...context },
  );
}

/** close(2). Never retried: Linux frees the descriptor even when it reports EINTR. @throws SysError */
export function close(fd: number): void {
  if (c.close(fd) < 0 && lastErrno() !== Errno.EINTR)
    throw new SysError("close", lastErrno(), { object: `fd ${fd}` });
}

/** How a lease closes a descriptor: the last one of a device resets it, the last one of an iommufd unmaps all. */
export function closing(fd: number): Release {
  return {
    now: () => close(fd),
    later: async () => {
      const result = await closeOffThread(fd);
      if (result < 0 && result !== -Errno.EINTR) throw new SysError("close", -result, { object: `fd ${fd}` });
    },
  };
}

/** read(2); returns the number of bytes, or null where a non-blocking descriptor has nothing. @throws SysError */
export function read(
  fd: number,
  buffer: NodeJS.ArrayBufferView,
  context: SysErrorContext = {},
): number | null {
  const count = restarting(() => c.read(fd, buffer, buffer.byteLength));
  if (count < 0 && lastErrno() === Errno.EAGAIN) return null;
  return check(count, "read", context);
}

/** write(2); returns the number of bytes written. @throws SysError */
export function write(fd: number, buffer: NodeJS.ArrayBufferView, context: SysErrorContext = {}): number {
  return check(
    restarting(() => c.write(fd, buffer, buffer.byteLength)),
    "write",
    context,
  );
}

/** pread(2); may return fewer bytes than asked. @throws SysError */
export function pread(
  fd: number,
  buffer: NodeJS.ArrayBufferView,
  offset: number,
  context: SysErrorContext = {},
): number {
  return check(
    restarting(() => c.pread(fd, buffer, buffer.byteLength, offset)),
    "pread",
    context,
  );
}

/** pwrite(2); may write fewer bytes than asked. @throws SysError */
export function pwrite(
  fd: number,
  buffer: NodeJS.ArrayBufferView,
  offset: number,
  context: SysErrorContext = {},
): number {
  return check(
    restarting(() => c.pwrite(fd, buffer, buffer.byteLength, offset)),
    "pwrite",
    context,
  );
}

const POLLIN = 1;
const POLLOUT = 4;

/** Waits up to `timeoutMs` (-1: for ever) until `fd` is readable. Blocks the thread. @throws SysError */
export function pollReadable(fd: number, timeoutMs: number): boolean {
  return pollFor(fd, POLLIN, timeoutMs);
}

/** The same until `fd` takes data. */
export function pollWritable(fd: number, timeoutMs: number): boolean {
  return pollFor(fd, POLLOUT, timeoutMs);
}

function pollFor(fd: number, events: number, timeoutMs: number): boolean {
  // struct pollfd { int fd; short events; short revents; }
  const request = new Int32Array([fd, events]);
  return (
    check(
      restarting(() => c.poll(request, 1, timeoutMs)),
      "poll",
      { object: `fd ${fd}` },
    ) > 0
  );
}

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

/** memfd_create(2) of `sizeBytes`, close-on-exec, sealing allowed. @throws SysError */
export function memfd(name: string, sizeBytes: number): number {
  const fd = check(c.memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create", { object: name });
  if (c.ftruncate(fd, sizeBytes) < 0) {
    const errno = lastErrno();
    c.close(fd);
    throw new SysError("ftruncate", errno, { object: `memfd ${name}` });
  }
  return fd;
}

const SC_PAGESIZE = 30;

/** The CPU's base page size in bytes, as sysconf(_SC_PAGESIZE) has it. */
export const PAGE_SIZE: number = c.sysconf(SC_PAGESIZE);
