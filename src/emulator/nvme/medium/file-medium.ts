/** A medium in a file. */
import { constants, fstatSync, ftruncateSync } from "node:fs";
import { ConfigError } from "../../../core/errors.js";
import { Lease } from "../../../core/lifetime/lease.js";
import { Resource } from "../../../core/lifetime/resource.js";
import {
  fdatasync,
  lockFile,
  openFile,
  preadAll,
  punchHole,
  pwriteAll,
  unlockFile,
} from "../../../sys/files.js";
import { close } from "../../../sys/syscalls.js";
import type { Medium } from "./medium.js";

const zeros = new Uint8Array(1 << 20);

/**
 * A medium in a file, sparse as long as nothing was written. Reached by pread and pwrite, not by mmap: a disk that
 * fills up, breaks, or a file that somebody cuts short is a media error of one command, where a mapping would take the
 * process down by SIGBUS. Two emulators can't have the same file.
 */
export class FileMedium extends Resource implements Medium {
  onFill: ((at: number, lengthBytes: number) => void) | undefined;

  private constructor(
    readonly path: string,
    private readonly fd: number,
    readonly sizeBytes: number,
    /** The file was empty or not there before. */
    readonly isNew: boolean,
    /** No other emulator has the file. It is written only then. */
    private isOurs: boolean,
  ) {
    super(new Lease(`emulated medium ${path}`, () => close(fd)));
  }

  /**
   * Opens or creates the file.
   * @param sizeBytes its size where it is new; 0 takes what is there
   * @param isIncoming another emulator may have it until own(): it has to be there
   * @throws SysError (no permission, no such directory), ConfigError (no regular file, of another emulator)
   */
  static open(path: string, sizeBytes: number, isIncoming = false): FileMedium {
    const fd = openFile(path, constants.O_RDWR | (isIncoming ? 0 : constants.O_CREAT), 0o600);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new ConfigError(`${path} is not a regular file`);
      if (isIncoming && stat.size === 0)
        throw new ConfigError(`${path} is empty: with incoming it must be the file of the migration source`);
      if (!isIncoming && !lockFile(fd)) throw new ConfigError(`${path} is in use by another emulator`);
      const isNew = stat.size === 0;
      if (isNew) ftruncateSync(fd, sizeBytes);
      return new FileMedium(path, fd, isNew ? sizeBytes : stat.size, isNew, !isIncoming);
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  read(at: number, target: Uint8Array, targetAt: number, lengthBytes: number): boolean {
    return preadAll(this.fd, target.subarray(targetAt, targetAt + lengthBytes), at);
  }

  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): boolean {
    return this.isOurs && pwriteAll(this.fd, source.subarray(sourceAt, sourceAt + lengthBytes), at);
  }

  fill(at: number, lengthBytes: number, value: number): boolean {
    if (!this.isOurs) return false;
    this.onFill?.(at, lengthBytes);
    if (value === 0 && punchHole(this.fd, at, lengthBytes)) return true;
    const part = value === 0 ? zeros : new Uint8Array(zeros.length).fill(value);
    for (let done = 0; done < lengthBytes; ) {
      const count = Math.min(lengthBytes - done, part.length);
      if (!pwriteAll(this.fd, part.subarray(0, count), at + done)) return false;
      done += count;
    }
    return true;
  }

  flush(): boolean {
    return fdatasync(this.fd);
  }

  get canBeShared(): boolean {
    return true;
  }

  own(): boolean {
    this.isOurs = lockFile(this.fd);
    return this.isOurs;
  }

  giveUp(): void {
    fdatasync(this.fd);
    this.isOurs = false;
    unlockFile(this.fd);
  }
}
