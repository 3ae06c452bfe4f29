/** mmap(2) and related calls that throw {@link SysError}. Addresses are plain numbers: user space ends below 2^47. */
import { SysError, type SysErrorContext } from "../core/errors.js";
import { hugePageHint } from "./huge-pages.js";
import { c, lastErrno } from "./libc.js";

const PROT_READ = 0x1;
const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_HUGETLB = 0x40000;
const MAP_HUGE_SHIFT = 26;
const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const MADV_DONTNEED = 4;
const MADV_DONTFORK = 10;
const MADV_UNMERGEABLE = 13;
const MADV_HUGEPAGE = 14;
const MADV_NOHUGEPAGE = 15;
const MADV_POPULATE_WRITE = 23;

const MAP_FAILED = -1;

/** What this process does with a file that it maps. A write to memory that is mapped for reading ends the process. */
export type FileAccess = "read" | "read-write";

function mmap(
  address: number,
  length: number,
  flags: number,
  fd: number,
  offset: number,
  context: SysErrorContext,
  access: FileAccess = "read-write",
): number {
  const protection = access === "read" ? PROT_READ : PROT_READ_WRITE;
  const result = c().mmap(address, length, protection, flags, fd, offset);
  if (result === MAP_FAILED) throw new SysError("mmap", lastErrno(), context);
  return result;
}

/** Options of {@link mapAnonymousAt}. */
export interface AnonymousOptions {
  /** Explicit huge pages of this size (a power of two the kernel has a pool for). */
  readonly hugePageBytes?: number | undefined;
  /** Fault all pages in now and not at first touch. */
  readonly populate?: boolean | undefined;
}

/**
 * Maps fresh zeroed pages at exactly `address`, in place of the old mapping. After a failure nothing may be mapped there:
 * the caller must map a tombstone.
 * @throws SysError
 */
export function mapAnonymousAt(address: number, length: number, options: AnonymousOptions = {}): void {
  const object = `${length} bytes of anonymous memory`;
  let flags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (options.hugePageBytes !== undefined) {
    flags |= MAP_HUGETLB | (Math.log2(options.hugePageBytes) << MAP_HUGE_SHIFT);
    const hint = hugePageHint(options.hugePageBytes);
    // Maps elsewhere first. The kernel removes the old pages before it finds that the pool is empty; another thread's
    // mmap could then land in the hole before the tombstone is there.
    c().munmap(mmap(0, length, flags, -1, 0, { object, hint }), length);
  }
  if (options.populate === true) flags |= MAP_POPULATE;
  mmap(address, length, flags | MAP_FIXED, -1, 0, { object });
}

/**
 * Maps private pages that read as zero at `address`. They are unreserved, so that a close can't fail for lack
 * of memory, even without overcommit.
 */
export function mapTombstoneAt(address: number, length: number): void {
  mmap(address, length, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0, {
    object: `${length} bytes`,
  });
}

/**
 * Maps `fd` shared at exactly `address`. It maps elsewhere first, then moves the mapping: if a driver refused it
 * after the kernel removed the old pages, a stale view would fault.
 * @throws SysError with the range at `address` untouched
 */
export function mapFileAt(
  address: number,
  length: number,
  fd: number,
  offset: number,
  object: string,
  hint?: string,
  access?: FileAccess,
): void {
  const staged = mmap(0, length, MAP_SHARED, fd, offset, { object, hint }, access);
  const moved = c().mremap(staged, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, address);
  if (moved === MAP_FAILED) {
    const errno = lastErrno();
    c().munmap(staged, length);
    mapTombstoneAt(address, length);
    throw new SysError("mremap", errno, { object });
  }
}

/** Maps `fd` shared, wherever there is room. @returns the address @throws SysError */
export function mapFile(
  length: number,
  fd: number,
  offset: number,
  object: string,
  access?: FileAccess,
): number {
  return mmap(0, length, MAP_SHARED | MAP_NORESERVE, fd, offset, { object }, access);
}

/** Removes a mapping that {@link mapFile} made, which nothing may use any more. */
export function unmap(address: number, length: number): void {
  c().munmap(address, length);
}

/** Asks for transparent huge pages; a kernel without them is no error. */
export function adviseHugePages(address: number, length: number): boolean {
  return c().madvise(address, length, MADV_HUGEPAGE) === 0;
}

/** Excludes pages from fork(2): copy-on-write could replace a page that a device writes to. @throws SysError */
export function adviseDontFork(address: number, length: number): void {
  if (c().madvise(address, length, MADV_DONTFORK) < 0) throw new SysError("madvise", lastErrno());
}

/**
 * Asks the kernel to put no other pages in place of these: neither a huge page that it joins of them, nor one that it shares between
 * equal ones. A kernel that does neither refuses the advice.
 */
export function adviseSamePages(address: number, length: number): void {
  for (const advice of [MADV_NOHUGEPAGE, MADV_UNMERGEABLE]) c().madvise(address, length, advice);
}

/**
 * Faults all pages in for writing. It throws if there is no page. A plain access could be fatal, if the NUMA node has no huge
 * pages left.
 * @throws SysError: ENOMEM, EFAULT (no huge page on the chosen node), EINVAL before Linux 5.14
 */
export function populatePages(address: number, length: number): void {
  if (c().madvise(address, length, MADV_POPULATE_WRITE) < 0) {
    throw new SysError("madvise(MADV_POPULATE_WRITE)", lastErrno(), { object: `${length} bytes of memory` });
  }
}

/** mlock(2). @throws SysError */
export function lockPages(address: number, length: number): void {
  if (c().mlock(address, length) < 0) {
    throw new SysError("mlock", lastErrno(), { hint: "the memlock limit (ulimit -l) may be too low" });
  }
}

/** Discards whole pages of private anonymous memory, which then read as zeros; false if they are locked. */
export function discardPages(address: number, length: number): boolean {
  return c().madvise(address, length, MADV_DONTNEED) === 0;
}
