/**
 * Reads and writes of kernel files that can be given up on. The kernel may wait without a limit in such a call, for a driver, a
 * lock or another process, in a state that no signal ends. A thread in that state would keep this process from ending, so a
 * child process makes the call. The child is `cat`: it starts in a millisecond, uses one read and one write, and names the
 * error (a shell's printf may not). It has only three descriptors: both ends of the copy, and a pipe for its error message.
 */
import type ChildProcess from "node:child_process";
import { constants } from "node:fs";
import { constants as osConstants } from "node:os";
import { Errno } from "../core/errno.js";
import { SysError, TimeoutError, UnsupportedError } from "../core/errors.js";
import { lazily } from "../core/lazy.js";
import { onAbort } from "../core/listeners.js";
import { requireFromHere } from "../core/module-url.js";
import { setNonBlocking } from "./files.js";
import { c } from "./libc.js";
import { close, O_RDONLY, O_WRONLY, open, pipe, pollReadable, read, write } from "./syscalls.js";

/** The limit of a wait, and what the error says. */
export interface KernelWait {
  /** Time limit in milliseconds. */
  readonly timeoutMs: number;
  /** Asked when the time is up: who prevents the call, and what to do. */
  readonly advice?: (() => string) | undefined;
  /** Gives the call up, with its reason, where the thread doesn't block. */
  readonly signal?: AbortSignal | undefined;
  /** Told when a call is given up in which the kernel still waits: further calls for the same device would wait, too. */
  readonly onStuck?: (() => void) | undefined;
}

/** What a call ends with: the name of the system call, its file, and the operation in words. */
interface KernelCall {
  readonly syscall: "read" | "write";
  readonly path: string;
  readonly what: string;
}

// Loading it takes some milliseconds, and few programs need it.
const childProcess = lazily((): typeof ChildProcess => requireFromHere("node:child_process"));

/** What a killed process needs to end, unless it waits in the kernel. */
const KILL_MS = 500;
/** Time limit for a `cat` with nothing to do. */
const START_MS = 5000;

/**
 * Writes a text of up to 4096 bytes in one write(2). Blocks the thread, up to the limit.
 * @throws TimeoutError: the kernel may still do it later; SysError of open, write or spawn; UnsupportedError (no `cat`)
 */
export function writeWithin(path: string, text: string, wait: KernelWait): void {
  const fds = new Descriptors();
  try {
    const { source, target, call } = prepareWrite(fds, path, text);
    copy(source, target, call, wait);
  } finally {
    fds.closeAll();
  }
}

/** Opens both ends of a write: a pipe with the text, and the file. */
function prepareWrite(
  fds: Descriptors,
  path: string,
  text: string,
): { readonly source: number; readonly target: number; readonly call: KernelCall } {
  const target = fds.add(openAtOnce(path, O_WRONLY));
  const source = fds.addPipe();
  write(source.writeEnd, Buffer.from(text));
  fds.close(source.writeEnd);
  const what = `writing ${JSON.stringify(text.trimEnd())} to ${path}`;
  return { source: source.readEnd, target, call: { syscall: "write", path, what } };
}

/** {@link writeWithin} without blocking the thread. @throws as a rejection; the signal's reason */
export async function writeWithinAsync(path: string, text: string, wait: KernelWait): Promise<void> {
  wait.signal?.throwIfAborted();
  const fds = new Descriptors();
  try {
    const { source, target, call } = prepareWrite(fds, path, text);
    await copyAsync(source, target, call, wait);
  } finally {
    fds.closeAll();
  }
}

/** Has a child copy one descriptor to the other, and waits for it in the event loop. */
async function copyAsync(source: number, target: number, call: KernelCall, wait: KernelWait): Promise<void> {
  const fds = new Descriptors();
  try {
    const errors = fds.addPipe();
    const child = startCat([source, target, errors.writeEnd], call);
    fds.close(errors.writeEnd);
    const ending = await endWithin(child, call, wait);
    check({ ...ending, said: readAll(errors.readEnd) }, call);
  } finally {
    fds.closeAll();
  }
}

/**
 * Waits for a child in the event loop, and kills it at the time limit or when the signal aborts.
 * @throws TimeoutError, the signal's reason, and what {@link notStarted} makes
 */
async function endWithin(
  child: ChildProcess.ChildProcess,
  call: KernelCall,
  wait: KernelWait,
): Promise<Omit<Ending, "said">> {
  child.ref();
  let timer: NodeJS.Timeout | undefined;
  let forgetSignal = (): void => {};
  try {
    return await new Promise((resolve, reject) => {
      /** Once the child was killed: the error to reject with. */
      let givenUp: ((isOver: boolean) => unknown) | undefined;
      child.on("error", (cause) => reject(notStarted(call, cause)));
      child.on("exit", (status, signal) => {
        // The call may also have ended in the moment of the kill.
        if (status !== null) resolve({ isExit: true, status });
        else if (givenUp !== undefined) reject(givenUp(true));
        else resolve({ isExit: false, status: signal === null ? 0 : osConstants.signals[signal] });
      });
      const giveUp = (reason: (isOver: boolean) => unknown): void => {
        if (givenUp !== undefined) return;
        givenUp = reason;
        clearTimeout(timer);
        child.kill("SIGKILL");
        // What the kernel can give up, it gives up now.
        timer = setTimeout(() => {
          wait.onStuck?.();
          reject(reason(false));
        }, KILL_MS);
      };
      timer = setTimeout(() => giveUp((isOver) => timedOut(call, wait, isOver)), wait.timeoutMs);
      forgetSignal = onAbort(wait.signal, () => giveUp(() => wait.signal?.reason));
    });
  } finally {
    clearTimeout(timer);
    forgetSignal();
    child.unref();
  }
}

/** Reads a text of up to 64 KiB. Blocks the thread, up to the limit. @throws as {@link writeWithin} */
export function readWithin(path: string, wait: KernelWait): string {
  const fds = new Descriptors();
  try {
    const source = fds.add(openAtOnce(path, O_RDONLY));
    const target = fds.addPipe();
    copy(source, target.writeEnd, { syscall: "read", path, what: `reading ${path}` }, wait);
    fds.close(target.writeEnd);
    return readAll(target.readEnd);
  } finally {
    fds.closeAll();
  }
}

/** {@link readWithin} without blocking the thread. @throws as {@link writeWithinAsync} */
export async function readWithinAsync(path: string, wait: KernelWait): Promise<string> {
  wait.signal?.throwIfAborted();
  const fds = new Descriptors();
  try {
    const source = fds.add(openAtOnce(path, O_RDONLY));
    const target = fds.addPipe();
    await copyAsync(source, target.writeEnd, { syscall: "read", path, what: `reading ${path}` }, wait);
    fds.close(target.writeEnd);
    return readAll(target.readEnd);
  } finally {
    fds.closeAll();
  }
}

/** Opens a file without waiting: a FIFO's open(2) would wait for the other end. @throws SysError: ENXIO for a FIFO without a reader */
function openAtOnce(path: string, flags: number): number {
  const fd = open(path, flags | constants.O_NONBLOCK);
  try {
    setNonBlocking(fd, false);
  } catch (error) {
    close(fd);
    throw error;
  }
  return fd;
}

/** Descriptors to close together. */
class Descriptors {
  private readonly open = new Set<number>();

  add(fd: number): number {
    this.open.add(fd);
    return fd;
  }

  addPipe(): ReturnType<typeof pipe> {
    const ends = pipe();
    this.add(ends.readEnd);
    this.add(ends.writeEnd);
    return ends;
  }

  close(fd: number): void {
    this.open.delete(fd);
    close(fd);
  }

  closeAll(): void {
    for (const fd of this.open) this.close(fd);
  }
}

/** Has a child copy one descriptor to the other. */
function copy(source: number, target: number, call: KernelCall, wait: KernelWait): void {
  const end = performance.now() + wait.timeoutMs;
  const fds = new Descriptors();
  try {
    const errors = fds.addPipe();
    const child = startCat([source, target, errors.writeEnd], call);
    fds.close(errors.writeEnd);
    const { pid } = child;
    if (pid === undefined) throw notStarted(call, causeNow());
    const ending = waitForEnd(pid, errors.readEnd, end);
    if (ending === undefined) {
      child.kill("SIGKILL");
      // What the kernel can give up, it gives up now. The call may also have ended in this moment.
      const late = waitForEnd(pid, errors.readEnd, performance.now() + KILL_MS);
      if (late?.isExit !== true) throw timedOut(call, wait, late !== undefined);
      check(late, call);
    } else check(ending, call);
  } finally {
    fds.closeAll();
  }
}

/** What a child inherits. A terminal that closes must not end it, and its folder must not stay in use. */
const childOptions = () => ({ cwd: "/", env: { ...process.env, LC_ALL: "C" } });

/** @throws as {@link notStarted}, for failures that Node.js throws; it reports others later, and the child then has no pid */
function startCat(stdio: number[], call: KernelCall): ChildProcess.ChildProcess {
  try {
    const child = childProcess().spawn("cat", [], { ...childOptions(), stdio, detached: true });
    child.on("error", () => {});
    child.unref();
    return child;
  } catch (error) {
    throw notStarted(call, error);
  }
}

/** Why `cat` doesn't start. Node.js says so in a later turn of the event loop; so it is started again, with nothing to do. */
function causeNow(): unknown {
  const { error } = childProcess().spawnSync("cat", [], {
    ...childOptions(),
    stdio: "ignore",
    timeout: START_MS,
  });
  return error;
}

/** The error for a `cat` that didn't start. @param cause as Node.js reports it; undefined if it starts by now */
function notStarted({ what }: KernelCall, cause: unknown): UnsupportedError | SysError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
  const errno = Object.entries(osConstants.errno).find(([name]) => name === code)?.[1] ?? Errno.EAGAIN;
  if (errno === Errno.ENOENT) {
    return new UnsupportedError(
      `${what}: there is no program cat in PATH ${JSON.stringify(process.env["PATH"] ?? "")}; it is part of coreutils and busybox`,
      { cause },
    );
  }
  return new SysError("spawn", errno, { object: "cat", hint: `${what} needs it`, cause });
}

/** How a child ended. */
interface Ending {
  /** Whether it ended by itself. */
  readonly isExit: boolean;
  /** Exit status, or the signal that killed it. */
  readonly status: number;
  /** What it wrote to standard error. */
  readonly said: string;
}

/** Waits for a child until `end`, a time of performance.now(). @returns undefined if it runs on */
function waitForEnd(pid: number, errors: number, end: number): Ending | undefined {
  const chunk = Buffer.alloc(4096);
  let said = "";
  for (;;) {
    if (!pollReadable(errors, restOf(end))) return undefined;
    const count = read(errors, chunk) ?? 0;
    if (count === 0) break;
    said += chunk.toString("utf8", 0, count);
  }
  // It has closed its descriptors, and ends in a moment.
  for (;;) {
    const how = endOf(pid);
    if (how !== undefined) return { ...how, said };
    if (restOf(end) === 0) return undefined;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  }
}

function restOf(end: number): number {
  return Math.max(0, Math.ceil(end - performance.now()));
}

const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
/** Leaves the child for Node.js, which waits for it later in its event loop. */
const WNOWAIT = 0x0100_0000;
const CLD_EXITED = 1;

/** How a child ended; undefined if it runs. */
function endOf(pid: number): Omit<Ending, "said"> | undefined {
  // siginfo_t of 64-bit machines: si_code is word 2, si_pid word 4, si_status word 6.
  const info = new Int32Array(32);
  if (c().waitid(P_PID, pid, info, WEXITED | WNOWAIT | WNOHANG) < 0 || info[4] !== pid) return undefined;
  return { isExit: info[2] === CLD_EXITED, status: info[6] ?? 0 };
}

/** @throws SysError unless the child has done it */
function check({ isExit, status, said }: Ending, { syscall, path }: KernelCall): void {
  if (!isExit) {
    throw new SysError(syscall, Errno.EINTR, {
      object: path,
      hint: `signal ${status} killed the process that made the call`,
    });
  }
  if (status === 0) return;
  const errno = errnoIn(said);
  const hint =
    errno === undefined ? `cat ended with status ${status}: ${said.trim() || "no message"}` : said.trim();
  throw new SysError(syscall, errno ?? Errno.EIO, { object: path, hint });
}

/** The errno that a program's message tells: by its number, as programs in Rust do, or by the C library's text. @returns undefined for none */
function errnoIn(said: string): number | undefined {
  const [, number] = /\(os error (\d+)\)/.exec(said) ?? [];
  if (number !== undefined) return Number(number);
  let best: { errno: number | undefined; length: number } = { errno: undefined, length: 0 };
  for (const errno of Object.values(osConstants.errno)) {
    const text = c().strerror(errno);
    // "No such device" also begins "No such device or address".
    if (text.length > best.length && said.includes(text)) best = { errno, length: text.length };
  }
  return best.errno;
}

function timedOut({ what }: KernelCall, { timeoutMs, advice }: KernelWait, isGivenUp: boolean): TimeoutError {
  const now = isGivenUp ? "it was given up" : "the kernel still waits, and may do it later";
  const more = advice?.();
  return new TimeoutError(what, timeoutMs, { hint: more === undefined ? now : `${now}; ${more}` });
}

function readAll(fd: number): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(4096);
    const count = read(fd, chunk) ?? 0;
    if (count === 0) return Buffer.concat(chunks).toString();
    chunks.push(chunk.subarray(0, count));
  }
}
