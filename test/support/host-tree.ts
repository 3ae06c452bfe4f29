/** Trees of files that describe a host: what `/proc`, `/sys`, `/etc`, `/boot`, `/dev` and `/lib/modules` hold. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { HostRoot } from "../../src/host/facts/root.js";

/** A file's content, a link, or an empty file with permissions (a device node's place). */
export type TreeFile =
  | string
  | Uint8Array
  | { readonly link: string }
  | { readonly mode: number }
  | { readonly script: string };

/** A shell script that stands for a program of the host. It runs in the tree's root folder. */
export function program(script: string): TreeFile {
  return { script: `#!/bin/sh\n${script}\n` };
}

/** Files by their absolute paths. A path that ends in `/` is an empty folder. */
export type TreeFiles = Readonly<Record<string, TreeFile>>;

/** A tree on disk. */
export interface HostTree extends Disposable {
  readonly root: HostRoot;
}

/** Writes a tree into a folder of its own. */
export function hostTree(files: TreeFiles): HostTree {
  const folder = mkdtempSync(join(tmpdir(), "iova-host-"));
  for (const [path, file] of Object.entries(files)) {
    const target = join(folder, path);
    mkdirSync(path.endsWith("/") ? target : dirname(target), { recursive: true });
    if (path.endsWith("/")) continue;
    if (typeof file === "string" || file instanceof Uint8Array) writeFileSync(target, file);
    else if ("link" in file) symlinkSync(file.link, target);
    else if ("script" in file) writeFileSync(target, file.script, { mode: 0o755 });
    else {
      writeFileSync(target, "");
      chmodSync(target, file.mode);
    }
  }
  return {
    root: new HostRoot(folder),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** All files of a tree but for the record and the notes, with content and permissions. */
export function snapshot({ root: { path } }: HostTree): Record<string, string> {
  const names = readdirSync(path, { recursive: true, encoding: "utf8" }).sort();
  const own = names.filter((name) => !/^(?:calls$|var(?:\/|$))/.test(name));
  return Object.fromEntries(
    own
      .filter((name) => existsSync(join(path, name)))
      .map((name) => {
        const state = statSync(join(path, name));
        const content = state.isFile() ? readFileSync(join(path, name), "utf8") : "";
        return [name, `${state.mode.toString(8)} ${state.uid}:${state.gid} ${content}`];
      }),
  );
}
