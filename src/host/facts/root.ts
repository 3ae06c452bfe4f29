/**
 * The one way to a host's files. The root folder is `/`, or a tree of files that describes another host: a container's, a
 * mounted disk's, a test's. What can't be read is absent, and nothing is thrown.
 */
import { statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileBytes, fileText, folderNames, linkTarget, tried } from "../../sys/kernel-files.js";

// stat(2)
const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const PERMISSION_BITS = 0o7777;

/** Owner and permissions of a file. */
export interface FileState {
  /** A device node, as opposed to an ordinary file or folder. */
  readonly isDevice: boolean;
  /** User id of its owner. */
  readonly uid: number;
  /** Group id. */
  readonly gid: number;
  /** The 12 permission bits of chmod(2). */
  readonly mode: number;
}

/** A host's files, below a root folder. */
export class HostRoot {
  /** @param path the root folder; `/` for this host */
  constructor(readonly path = "/") {}

  /** Whether this is the host that the process runs on, so that the process may try things out. */
  get isLive(): boolean {
    return this.path === "/";
  }

  /** Content of an ordinary file; undefined if there is none that can be read. @param file absolute path below the root */
  bytes(file: string): Uint8Array | undefined {
    return fileBytes(join(this.path, file));
  }

  /** Content of a text file, without blanks and line breaks at its ends. */
  text(file: string): string | undefined {
    return fileText(join(this.path, file));
  }

  /** A number in a file of its own, as sysfs has them: decimal, or hexadecimal with 0x. */
  number(file: string): number | undefined {
    const text = this.text(file);
    if (text === undefined || !/^-?(?:\d+|0x[0-9a-f]+)$/i.test(text)) return undefined;
    return Number(text);
  }

  /** Names in a folder, sorted; none if it can't be read. */
  names(folder: string): string[] {
    return folderNames(join(this.path, folder)) ?? [];
  }

  /** What a link leads to, as it is written. */
  linkTarget(file: string): string | undefined {
    return linkTarget(join(this.path, file));
  }

  /** Last component of a link's target. */
  linkName(file: string): string | undefined {
    const target = this.linkTarget(file);
    return target === undefined ? undefined : basename(target);
  }

  /** Owner and permissions; undefined if there is no such file, or it can't be looked at. */
  state(file: string): FileState | undefined {
    return tried(() => {
      const { mode, uid, gid } = statSync(join(this.path, file));
      return { isDevice: (mode & S_IFMT) === S_IFCHR, uid, gid, mode: mode & PERMISSION_BITS };
    });
  }

  exists(file: string): boolean {
    return this.state(file) !== undefined;
  }
}
