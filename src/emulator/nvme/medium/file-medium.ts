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
 * A medium in a sparse file. It uses pread and pwrite instead of a mapping: if the disk is full or broken, or the file is
 * truncated, one command gets a media error, while a mapping would end the process by SIGBUS. Two emulators can't use the
 * same file at the same time.
 */
export class FileMedium extends Resource implements Medium {
  onFill: ((at: number, lengthBytes: number) => void) | undefined;

  private constructor(
    readonly path: string,
    private readonly fd: number,
    readonly sizeBytes: number,
    /** The file was empty or did not exist. */
    readonly isNew: boolean,
    /** This emulator has locked the file. Otherwise it doesn't write to it. */
    private isOurs: boolean,
  ) {
    super(new Lease(`emulated medium ${path}`, () => close(fd)));
  }

  /**
   * Opens or creates the file.
   * @param sizeBytes size of a new file; an existing file has its own
   * @param isIncoming the file must exist, and another emulator may use it until own()
   * @throws SysError (no permission, no such directory), ConfigError (not a regular file, in use by another emulator)
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
