/** Steps on files: whole files, attributes of the kernel, owners of nodes. Each can be prepared, done, and taken back. */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { FileStep } from "../checks/check.js";
import { digest, type FileBefore, type Ownership, type Undo } from "./entries.js";
import { HostChangeError } from "./errors.js";
import { syncFolder } from "./record.js";
import type { AttributeStep, OwnerStep } from "./steps.js";

type FileUndo = Extract<Undo, { readonly kind: "file" }>;
type AttributeUndo = Extract<Undo, { readonly kind: "attribute" }>;
type OwnerUndo = Extract<Undo, { readonly kind: "owner" }>;

const PERMISSION_BITS = 0o7777;
/** A larger file is no configuration. */
const MAX_BYTES = 4 * 1024 * 1024;
const NEW_FILE = { mode: 0o644 };

/** The state of a path itself; undefined if there is nothing. @throws Error */
function stateOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** Bytes and owner of an ordinary file; undefined if there is none. @throws HostChangeError: it is something else; Error */
function fileAt(path: string): FileBefore | undefined {
  const state = stateOf(path);
  if (state === undefined) return undefined;
  if (state.isSymbolicLink())
    throw new HostChangeError(
      `${path} is a symbolic link, which is left alone: change what it leads to by hand`,
    );
  if (!state.isFile()) throw new HostChangeError(`${path} isn't an ordinary file, so it is left alone`);
  if (state.size > MAX_BYTES) throw new HostChangeError(`${path} has ${state.size} bytes: it is left alone`);
  const content = readFileSync(path).toString("base64");
  return { content, uid: state.uid, gid: state.gid, mode: state.mode & PERMISSION_BITS };
}

/** What takes the step back; undefined if the file is so already. @throws HostChangeError, Error */
export function prepareFile(root: string, { path, content }: FileStep): FileUndo | undefined {
  const target = join(root, path);
  const before = fileAt(target) ?? null;
  if (before?.content === Buffer.from(content).toString("base64")) return undefined;
  return { kind: "file", path, before, after: digest(content), folders: missingFolders(root, dirname(path)) };
}

function missingFolders(root: string, folder: string): string[] {
  return existsSync(join(root, folder)) ? [] : [...missingFolders(root, dirname(folder)), folder];
}

/** @throws Error */
export function writeFileStep(root: string, { path, content }: FileStep, undo: FileUndo): void {
  for (const folder of undo.folders) {
    mkdirSync(join(root, folder), { mode: 0o755 });
    syncFolder(join(root, dirname(folder)));
  }
  replaceFile(join(root, path), Buffer.from(content), undo.before ?? undefined);
}

/** Replaces a file as a whole: who reads it sees all of the old or all of the new content. @throws Error */
function replaceFile(path: string, bytes: Uint8Array, owner: Ownership | undefined): void {
  const fresh = freshPath(path);
  // Left by a program that was killed: the record's lock keeps others away.
  rmSync(fresh, { force: true });
  const fd = openSync(
    fresh,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    try {
      writeFileSync(fd, bytes);
      if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
      fchmodSync(fd, owner?.mode ?? NEW_FILE.mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** No program takes a file of this name for one of its own. */
function freshPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.iova-new`);
}

/** @throws HostChangeError: somebody has changed the file since; Error */
export function takeBackFile(
  root: string,
  { path, before, after, folders }: FileUndo,
  isDryRun: boolean,
): void {
  const target = join(root, path);
  const now = fileAt(target);
  const isOurs = now !== undefined && digest(Buffer.from(now.content, "base64")) === after;
  const isAsBefore = now?.content === before?.content;
  if (!isOurs && !isAsBefore) {
    const what = now === undefined ? "removed" : "changed";
    throw new HostChangeError(`somebody has ${what} ${path} since, so it is left as it is`);
  }
  if (isDryRun) return;
  if (!isAsBefore) {
    if (before === null) {
      unlinkSync(target);
      syncFolder(dirname(target));
    } else replaceFile(target, Buffer.from(before.content, "base64"), before);
  }
  if (existsSync(dirname(target))) rmSync(freshPath(target), { force: true });
  for (const folder of folders.toReversed()) removeIfEmpty(join(root, folder));
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Others have files in it, or it was never made.
  }
}

/** @throws HostChangeError, Error */
function attributeAt(path: string): string {
  // Folders of sysfs are links; the attribute itself is none.
  if (stateOf(path)?.isFile() !== true)
    throw new HostChangeError(`there is no file ${path}: this kernel lacks it`);
  return readFileSync(path, "latin1").trim();
}

/** What takes the step back; undefined if the attribute is so already. @throws HostChangeError, Error */
export function prepareAttribute(root: string, { path, value }: AttributeStep): AttributeUndo | undefined {
  const before = attributeAt(join(root, path));
  return before === value ? undefined : { kind: "attribute", path, before, after: value };
}

/** @throws HostChangeError: the kernel took another value, and has the one before again; Error */
export function writeAttribute(root: string, { path, before, after }: AttributeUndo): void {
  const target = join(root, path);
  setAttribute(target, after);
  const now = attributeAt(target);
  if (now === after) return;
  setAttribute(target, before);
  throw new HostChangeError(
    `${path} became ${now} in place of ${after}, which is all that the kernel could do; it is ${before} again`,
  );
}

/** @throws Error */
function setAttribute(path: string, value: string): void {
  // Without O_CREAT, so that no file is made where the kernel's has gone.
  const fd = openSync(path, constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW);
  try {
    writeFileSync(fd, `${value}\n`);
  } finally {
    closeSync(fd);
  }
}

/** @throws HostChangeError: somebody has changed it since; Error */
export function takeBackAttribute(
  root: string,
  { path, before, after }: AttributeUndo,
  isDryRun: boolean,
): void {
  const now = attributeAt(join(root, path));
  if (now === before) return;
  if (now !== after)
    throw new HostChangeError(`${path} is ${now}, which somebody has set since, so it is left as it is`);
  if (!isDryRun) setAttribute(join(root, path), before);
}

/** @throws HostChangeError: it is a link or neither a node nor a file; Error */
function ownerOf(path: string): Ownership | undefined {
  const state = stateOf(path);
  if (state === undefined) return undefined;
  if (!state.isCharacterDevice() && !state.isFile())
    throw new HostChangeError(`${path} isn't a device node, so it is left alone`);
  return { uid: state.uid, gid: state.gid, mode: state.mode & PERMISSION_BITS };
}

function isSame(a: Ownership, b: Ownership): boolean {
  return a.uid === b.uid && a.gid === b.gid && a.mode === b.mode;
}

/** What takes the step back; undefined if the node is so already. @throws HostChangeError, Error */
export function prepareOwner(root: string, { path, uid, gid, mode }: OwnerStep): OwnerUndo | undefined {
  const before = ownerOf(join(root, path));
  if (before === undefined) throw new HostChangeError(`there is no node ${path}`);
  const after = { uid, gid, mode };
  return isSame(before, after) ? undefined : { kind: "owner", path, before, after };
}

/** @throws Error */
export function setOwner(root: string, path: string, { uid, gid, mode }: Ownership): void {
  const target = join(root, path);
  // In this order, the new permissions are never the old owner's.
  chmodSync(target, statSync(target).mode & mode);
  chownSync(target, uid, gid);
  chmodSync(target, mode);
}

/** @throws HostChangeError: somebody has changed it since; Error */
export function takeBackOwner(root: string, { path, before, after }: OwnerUndo, isDryRun: boolean): void {
  const now = ownerOf(join(root, path));
  // A node that has gone is made anew with its usual owner.
  if (now === undefined || isSame(now, before)) return;
  if (!isSame(now, after))
    throw new HostChangeError(
      `somebody has changed the owner or permissions of ${path} since, so it is left as it is`,
    );
  if (!isDryRun) setOwner(root, path, before);
}
