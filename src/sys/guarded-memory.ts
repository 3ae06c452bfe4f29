/**
 * A file in memory that another process may truncate. An access to a lost page through a mapping would end this process
 * (SIGBUS), but fails with EFAULT where the kernel makes it. So this file maps such memory without any view of it, and
 * copies by pread(2) and pwrite(2) between it and a window, a memory file of this process. Reading and writing the file
 * itself wouldn't do: hugetlbfs can't be written to, and a write beyond the end of a file makes it longer.
 */
import { statfsSync } from "node:fs";
import { Errno } from "../core/errno.js";
import { ArgumentError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { copyBytes } from "./copy.js";
import { c, type LibC, lastErrno } from "./libc.js";
import { filePageBytes, fileSize, HUGETLBFS_MAGIC, MappedMemory, TMPFS_MAGIC } from "./memory.js";
import { type FileAccess, mapFile, unmap } from "./mmap.js";

const WINDOW_BYTES = 64 * 1024;

/**
 * Whether a file lies in memory: in tmpfs, as a memfd does, or in hugetlbfs. A page of any other file can take for ever to
 * come (FUSE, network file systems), and a copy with it.
 */
export function isInMemory(fd: number): boolean {
  try {
    const { type } = statfsSync(`/proc/self/fd/${fd}`);
    return type === TMPFS_MAGIC || type === HUGETLBFS_MAGIC;
  } catch {
    // Without /proc it is unknown.
    return false;
  }
}

/** What copies pass through: one for many {@link GuardedMemory}. */
export class CopyWindow extends Resource {
  private readonly memory: MappedMemory;
  private readonly bytes: Uint8Array;
  private readonly fd: number;

  /** @throws SysError, UnsupportedError (no address space) */
  constructor() {
    const memory = MappedMemory.memfd(WINDOW_BYTES, { name: "iova-window" });
    super(new Lease("a window for copies", () => memory.close()));
    memory.relinquish();
    this.memory = memory;
    this.bytes = memory.bytes;
    this.fd = memory.fd;
  }

  /** Copies from an address. @returns false if the memory there is lost */
  read(address: number, target: Uint8Array, targetAt: number, lengthBytes: number): boolean {
    if (this.memory.closed) return false;
    for (let done = 0; done < lengthBytes; ) {
      const count = Math.min(lengthBytes - done, WINDOW_BYTES);
      if (!transfer(c().pwriteFrom, this.fd, address + done, count)) return false;
      copyBytes(target, targetAt + done, this.bytes, 0, count);
      done += count;
    }
    return true;
  }

  /** Copies to an address. @returns false if the memory there is lost */
  write(address: number, source: Uint8Array, sourceAt: number, lengthBytes: number): boolean {
    if (this.memory.closed) return false;
    for (let done = 0; done < lengthBytes; ) {
      const count = Math.min(lengthBytes - done, WINDOW_BYTES);
      copyBytes(this.bytes, 0, source, sourceAt + done, count);
      if (!transfer(c().preadTo, this.fd, address + done, count)) return false;
      done += count;
    }
    return true;
  }
}

/** Calls pread or pwrite until all is copied. */
function transfer(call: LibC["preadTo"], window: number, address: number, lengthBytes: number): boolean {
  for (let done = 0; done < lengthBytes; ) {
    const count = call(window, address + done, lengthBytes - done, done);
    if (count > 0) done += count;
    else if (count === 0 || lastErrno() !== Errno.EINTR) return false;
  }
  return true;
}

/** A part of such a file. */
export class GuardedMemory extends Resource {
  private constructor(
    private readonly address: number,
    private readonly sizeBytes: number,
    private readonly window: CopyWindow,
    what: string,
    release: () => void,
  ) {
    super(new Lease(what, release));
  }

  /**
   * Maps a part of a file of which {@link isInMemory} is true.
   * @param fd may be closed afterwards
   * @param offset a multiple of 4 KiB
   * @param window stays the caller's to close
   * @param access "read" needs no writable descriptor; {@link write} then returns false
   * @throws ArgumentError if the file ends before, SysError
   */
  static ofFile(
    fd: number,
    offset: number,
    sizeBytes: number,
    what: string,
    window: CopyWindow,
    access?: FileAccess,
  ): GuardedMemory {
    const size = fileSize(fd) ?? 0;
    if (offset + sizeBytes > size) {
      throw new ArgumentError(`${what}: the file ends at ${size} bytes, before ${offset + sizeBytes}`);
    }
    const pageBytes = filePageBytes(fd);
    const first = Math.floor(offset / pageBytes) * pageBytes;
    const length = Math.ceil((offset + sizeBytes - first) / pageBytes) * pageBytes;
    const address = mapFile(length, fd, first, what, access);
    return new GuardedMemory(address + (offset - first), sizeBytes, window, what, () =>
      unmap(address, length),
    );
  }

  /** Copies from here. @returns false if the file was truncated, or this is closed; `target` may hold a part */
  read(at: number, target: Uint8Array, targetAt: number, lengthBytes: number): boolean {
    return this.has(at, lengthBytes) && this.window.read(this.address + at, target, targetAt, lengthBytes);
  }

  /** Copies to here. @returns false if the file was truncated, or this is closed; a part may be written */
  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): boolean {
    return this.has(at, lengthBytes) && this.window.write(this.address + at, source, sourceAt, lengthBytes);
  }

  private has(at: number, lengthBytes: number): boolean {
    return !this.closed && at >= 0 && at + lengthBytes <= this.sizeBytes;
  }
}
