/** Programs of the system that root runs: looked for in fixed folders, since PATH may be anybody's, and run without a shell. */
import type ChildProcess from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { TimeoutError } from "../../core/errors.js";
import { lazily } from "../../core/lazy.js";
import { onAbort } from "../../core/listeners.js";
import { requireFromHere } from "../../core/module-url.js";
import type { StepLimits } from "./kernel-steps.js";

// Loading it takes some milliseconds, and few programs need it.
const childProcess = lazily((): typeof ChildProcess => requireFromHere("node:child_process"));

/** Where distributions have programs of the system. */
export const PROGRAM_FOLDERS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] as const;
/** Characters of a program's messages that errors have. */
const SAID = 2000;
/** A group of a big directory has a line of all its members. */
const MOST_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Places of a program. @param root folder below which the system is */
export function programPlaces(name: string, root = "/"): string[] {
  return PROGRAM_FOLDERS.map((folder) => join(root, folder, name));
}

/** The first of these places that has a program; undefined if none has. */
export function programAt(places: readonly string[]): string | undefined {
  return places.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** A run of a program. */
export interface ProgramRun extends StepLimits {
  /** Path of the program. */
  readonly path: string;
  readonly args: readonly string[];
  /** The folder that it runs in; `/` by default. */
  readonly cwd?: string | undefined;
  /** Names the run in the error. */
  readonly what: string;
  /** What may help after a timeout; by default, that the kernel's log may say more. */
  readonly hint?: string | undefined;
}

/** How a program ended. */
export interface ProgramEnd {
  /** Its exit status, or the signal that ended it. */
  readonly how: number | string;
  /** What it wrote to standard error, without blanks at the ends. */
  readonly said: string;
}

function surroundings({ cwd = "/" }: ProgramRun) {
  return {
    cwd,
    env: { PATH: PROGRAM_FOLDERS.join(":"), LC_ALL: "C" },
    killSignal: "SIGKILL",
  } as const;
}

function tooLong({ what, timeoutMs, hint = "the kernel's log may say more" }: ProgramRun): TimeoutError {
  return new TimeoutError(what, timeoutMs, { hint });
}

/** Runs a program to its end, and blocks the thread. @throws TimeoutError; Error: it could not be started */
export function runProgramNow(run: ProgramRun): ProgramEnd {
  const { error, stderr, status, signal } = childProcess().spawnSync(run.path, run.args, {
    ...surroundings(run),
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: run.timeoutMs,
  });
  return endOf(run, { error, stderr, how: signal ?? status ?? 0 });
}

/** {@link runProgramNow} for a program that answers on standard output. @throws TimeoutError; Error: it could not be started */
export function askProgram(run: ProgramRun): ProgramEnd & { readonly answer: string } {
  const { error, stdout, stderr, status, signal } = childProcess().spawnSync(run.path, run.args, {
    ...surroundings(run),
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    timeout: run.timeoutMs,
    maxBuffer: MOST_OUTPUT_BYTES,
  });
  return { ...endOf(run, { error, stderr, how: signal ?? status ?? 0 }), answer: stdout };
}

/** @throws TimeoutError; the error of the start */
function endOf(
  run: ProgramRun,
  { error, stderr, how }: { error: Error | undefined; stderr: string; how: number | string },
): ProgramEnd {
  if (error !== undefined) throw "code" in error && error.code === "ETIMEDOUT" ? tooLong(run) : error;
  return { how, said: stderr.slice(-SAID).trim() };
}

/** {@link runProgramNow} without blocking the thread. @throws as a rejection; the signal's reason */
export async function runProgramBeside(run: ProgramRun): Promise<ProgramEnd> {
  const scope = new AbortController();
  const timer = setTimeout(() => scope.abort(tooLong(run)), run.timeoutMs);
  const forgetSignal = onAbort(run.signal, () => scope.abort(run.signal?.reason));
  try {
    return await new Promise((resolve, reject) => {
      const child = childProcess().spawn(run.path, run.args, {
        ...surroundings(run),
        stdio: ["ignore", "ignore", "pipe"],
        signal: scope.signal,
      });
      let said = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-SAID);
      });
      child.once("error", (error) => reject(scope.signal.aborted ? scope.signal.reason : error));
      child.once("close", (status, signal) => {
        if (scope.signal.aborted) reject(scope.signal.reason);
        else resolve({ how: signal ?? status ?? 0, said: said.trim() });
      });
    });
  } finally {
    clearTimeout(timer);
    forgetSignal();
  }
}

/** How a program ended that failed, as the end of a sentence. */
export function endText({ how, said }: ProgramEnd): string {
  const end = typeof how === "number" ? `ended with status ${how}` : `was ended by ${how}`;
  return said === "" ? end : `${end}: ${said}`;
}
