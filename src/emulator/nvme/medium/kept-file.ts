/** A file beside the medium, for what doesn't fit into the medium's own record. */
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import type * as z from "zod/mini";
import { ConfigError, SysError } from "../../../core/errors.js";
import { Problems, read } from "../../../core/options.js";
import { openFile } from "../../../sys/files.js";
import { close } from "../../../sys/syscalls.js";
import { parseJson } from "./state-schema.js";

/** No kept file is longer: two boot partitions of 4 MiB are 11 MiB in base64. */
const LONGEST_BYTES = 16 << 20;
const DIGEST_LENGTH = 64;

/**
 * A file that is replaced as a whole: a new file is written out and renamed over it, so that a kill leaves the old contents or
 * the new ones. It has a line with its kind and the SHA-256 of the rest, then JSON.
 */
export class KeptFile<S extends z.core.$ZodType> {
  readonly path: string;
  private readonly magic: string;

  /**
   * @param medium path of the medium
   * @param kind ends the name of the file, and begins its contents
   * @param holds what the file holds, for errors
   */
  constructor(
    medium: string,
    kind: string,
    private readonly holds: string,
    private readonly schema: () => S,
  ) {
    this.path = `${resolve(medium)}.${kind}`;
    this.magic = `iova-nvme-${kind}-1 `;
  }

  /**
   * What was kept; undefined if there is no file.
   * @throws ConfigError (the file is damaged, or none of these), SysError (it can't be opened); the file stays as it is
   */
  read(): z.output<S> | undefined {
    const bytes = this.bytes();
    if (bytes === undefined) return undefined;
    const { path, magic, holds } = this;
    const textAt = magic.length + DIGEST_LENGTH + 1;
    if (bytes.toString("latin1", 0, magic.length) !== magic)
      throw new ConfigError(
        `${path} does not hold the ${holds} of an emulated NVMe controller: move it away, or use a medium of another name`,
      );
    const text = bytes.subarray(textAt);
    const digest = bytes.toString("latin1", magic.length, textAt);
    const state =
      digest === `${digestOf(text)}\n` ? read(this.schema(), parseJson(text.toString())) : undefined;
    if (state === undefined || state instanceof Problems)
      throw new ConfigError(
        `${path} is damaged: restore it from a copy, or move it away to begin with empty ${holds}`,
      );
    return state;
  }

  /** Replaces what is kept, on the disk when it returns. @returns false if that failed, with the old contents kept */
  write(state: z.output<S>): boolean {
    const { path, magic } = this;
    const text = Buffer.from(JSON.stringify(state));
    const fresh = `${path}.new`;
    try {
      // Of an emulator that was killed.
      rmSync(fresh, { force: true });
      // A key of RPMB is a secret. What isn't ours is never written through.
      const fd = openSync(fresh, "wx", 0o600);
      try {
        writeFileSync(fd, Buffer.concat([Buffer.from(`${magic}${digestOf(text)}\n`), text]));
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(fresh, path);
    } catch {
      return false;
    }
    syncFolder(dirname(path));
    return true;
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  private bytes(): Buffer | undefined {
    let fd: number;
    try {
      // A pipe of this name would wait for a writer.
      fd = openFile(this.path, constants.O_RDONLY | constants.O_NONBLOCK, 0);
    } catch (error) {
      if (error instanceof SysError && error.code === "ENOENT") return undefined;
      throw error;
    }
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new ConfigError(`${this.path} is not a regular file`);
      // Longer files are foreign; their first bytes tell what they are.
      return stat.size <= LONGEST_BYTES ? readFileSync(fd) : Buffer.alloc(0);
    } finally {
      close(fd);
    }
  }
}

const digestOf = (text: Uint8Array): string => createHash("sha256").update(text).digest("hex");

/** Makes a rename last through a loss of power, where the file system can do that. */
function syncFolder(path: string): void {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY);
    fsyncSync(fd);
  } catch {
    // The rename is done, and what it replaced can't come back: to report a failure would be wrong.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
