/** System calls that throw {@link SysError} and restart after a signal. */
import { constants, readFileSync } from "node:fs";
import { Errno } from "../core/errno.js";
import { SysError, type SysErrorContext } from "../core/errors.js";
import type { Release } from "../core/lifetime/lease.js";
import { adopt, adoptAll, close, closeAsync, descriptorError, O_CLOEXEC } from "./descriptors.js";
import { c, lastErrno } from "./libc.js";

export { close, O_CLOEXEC } from "./descriptors.js";

export const { O_RDONLY, O_RDWR, O_WRONLY } = constants;

function check(result: number, syscall: string, context: SysErrorContext): number {
  if (result < 0) throw new SysError(syscall, lastErrno(), context);
  return result;
}

function checkOn(fd: number, result: number, syscall: string): number {
  if (result < 0) throw descriptorError(syscall, lastErrno(), fd);
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
  return adopt(
    check(
      restarting(() => c().open(path, flags | O_CLOEXEC, 0)),
      "open",
      { object: path, ...context },
    ),
  );
}

/** pipe2(2), close-on-exec. @throws SysError */
export function pipe(): { readonly readEnd: number; readonly writeEnd: number } {
  const fds = new Int32Array(2);
  check(c().pipe2(fds, O_CLOEXEC), "pipe2", {});
  const [readEnd = -1, writeEnd = -1] = adoptAll([...fds]);
  return { readEnd, writeEnd };
}

/** The release of a lease that closes a descriptor. A device's last one resets it; an iommufd's last one unmaps all. */
export function closing(fd: number): Release {
  return {
    now: () => close(fd),
    later: () => closeAsync(fd),
  };
}

/** read(2); returns the number of bytes, or null if a non-blocking descriptor has none. @throws SysError */
export function read(
  fd: number,
  buffer: NodeJS.ArrayBufferView,
  context: SysErrorContext = {},
): number | null {
  const count = restarting(() => c().read(fd, buffer, buffer.byteLength));
  if (count < 0 && lastErrno() === Errno.EAGAIN) return null;
  return check(count, "read", context);
}

/** write(2); returns the number of bytes written. @throws SysError */
export function write(fd: number, buffer: NodeJS.ArrayBufferView, context: SysErrorContext = {}): number {
  return check(
    restarting(() => c().write(fd, buffer, buffer.byteLength)),
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
    restarting(() => c().pread(fd, buffer, buffer.byteLength, offset)),
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
    restarting(() => c().pwrite(fd, buffer, buffer.byteLength, offset)),
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

/** The same, until one of several is readable. */
export function pollAnyReadable(fds: readonly number[], timeoutMs: number): boolean {
  const request = Int32Array.from(fds.flatMap((fd) => [fd, POLLIN]));
  return pollAll(request, fds.length, timeoutMs, `${fds.length} descriptors`);
}

/** The same, until `fd` is writable. */
export function pollWritable(fd: number, timeoutMs: number): boolean {
  return pollFor(fd, POLLOUT, timeoutMs);
}

function pollFor(fd: number, events: number, timeoutMs: number): boolean {
  // struct pollfd { int fd; short events; short revents; }
  return pollAll(new Int32Array([fd, events]), 1, timeoutMs, `descriptor ${fd}`);
}

/** poll(2). Signals don't lengthen the wait: a profiler sends a thousand a second. */
function pollAll(request: Int32Array, count: number, timeoutMs: number, object: string): boolean {
  const end = performance.now() + timeoutMs;
  let isFirst = true;
  const poll = (): number => {
    const restMs = isFirst || timeoutMs < 0 ? timeoutMs : Math.max(0, Math.ceil(end - performance.now()));
    isFirst = false;
    return c().poll(request, count, restMs);
  };
  return check(restarting(poll), "poll", { object }) > 0;
}

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_HUGETLB = 4;
const MFD_HUGE_SHIFT = 26;

/**
 * memfd_create(2) of `sizeBytes`, close-on-exec, sealing allowed.
 * @param hugePageBytes explicit huge pages of this size, of which `sizeBytes` is a multiple
 * @throws SysError
 */
export function memfd(name: string, sizeBytes: number, hugePageBytes?: number): number {
  const huge = hugePageBytes === undefined ? 0 : MFD_HUGETLB | (Math.log2(hugePageBytes) << MFD_HUGE_SHIFT);
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | huge;
  const fd = adopt(check(c().memfdCreate(name, flags), "memfd_create", { object: name }));
  if (c().ftruncate(fd, sizeBytes) < 0) {
    const errno = lastErrno();
    close(fd);
    throw new SysError("ftruncate", errno, { object: `memfd ${name}` });
  }
  return fd;
}

const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;

/** A second descriptor of the same open file, close-on-exec. @throws SysError */
export function duplicate(fd: number): number {
  return adopt(checkOn(fd, c().fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl(F_DUPFD_CLOEXEC)"));
}

/** Makes an object that owns a copy of a descriptor. @throws SysError: EBADF; what `make` throws, with the copy closed */
export function ofCopy<T>(fd: number, make: (copy: number) => T): T {
  const copy = duplicate(fd);
  try {
    return make(copy);
  } catch (error) {
    close(copy);
    throw error;
  }
}

/** Seals the length of a memfd, so that no process can change it. @throws SysError */
export function sealSize(fd: number): void {
  const seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
  checkOn(fd, c().fcntl(fd, F_ADD_SEALS, seals), "fcntl(F_ADD_SEALS)");
}

/** Whether a file can't become shorter: true only for a sealed memfd. */
export function isSealedAgainstShrinking(fd: number): boolean {
  const seals = c().fcntl(fd, F_GET_SEALS, 0);
  return seals >= 0 && (seals & F_SEAL_SHRINK) !== 0;
}

/**
 * Seals a memfd against truncation.
 * @returns false if that can't be done: not a memfd, or one made without sealing
 */
export function sealAgainstShrinking(fd: number): boolean {
  return isSealedAgainstShrinking(fd) || c().fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) >= 0;
}

/** Size of a file by lseek(2), the only way to learn that of a dma-buf. @throws SysError */
export function fileEnd(fd: number): number {
  const SEEK_SET = 0;
  const SEEK_END = 2;
  const end = checkOn(fd, c().lseek(fd, 0, SEEK_END), "lseek");
  c().lseek(fd, 0, SEEK_SET);
  return end;
}

const SC_PAGESIZE = 30;

/** AT_PAGESZ of linux/auxvec.h: pairs of words, in which the kernel tells a program its page size. */
const AUXV_PAGE_SIZE = 6n;

/** x86-64 has one size; elsewhere the kernel has told it. Both spare an import the load of the C library. */
function pageSize(): number {
  if (process.arch === "x64" || process.platform !== "linux") return 4096;
  try {
    const words = new BigUint64Array(new Uint8Array(readFileSync("/proc/self/auxv")).buffer);
    for (let i = 0; i + 1 < words.length; i += 2)
      if (words[i] === AUXV_PAGE_SIZE) return Number(words[i + 1]);
  } catch {
    // A program without the right to read its own files of /proc.
  }
  return c().sysconf(SC_PAGESIZE);
}

/** The CPU's base page size in bytes. */
export const PAGE_SIZE: number = pageSize();
