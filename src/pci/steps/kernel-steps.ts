/** Steps in sysfs that the kernel or a driver may wait in: each has a time limit, and is done on this thread or beside it. */
import { checkInteger, MAX_TIMER_MS } from "../../core/check.js";
import { TimeoutError } from "../../core/errors.js";
import { checkSignal, onAbort } from "../../core/listeners.js";
import {
  type KernelWait,
  readWithin,
  readWithinAsync,
  writeWithin,
  writeWithinAsync,
} from "../../sys/kernel-wait.js";

/** In milliseconds, unless the caller gives another. */
const STEP_TIMEOUT_MS = 30_000;

/** How long the steps of one operation may take, and whether the kernel still waits in one that was given up. */
export class StepWait implements KernelWait {
  /** Of each step. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  private isStuck = false;

  /** @param advice see {@link KernelWait.advice} @throws ArgumentError */
  constructor(
    options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined },
    readonly advice: () => string,
  ) {
    this.timeoutMs = checkInteger("timeoutMs", options.timeoutMs ?? STEP_TIMEOUT_MS, 1, MAX_TIMER_MS);
    this.signal = checkSignal(options.signal);
  }

  readonly onStuck = (): void => {
    this.isStuck = true;
  };

  /** Whether the kernel may still wait in the step that ended with this error: further steps would wait, too. */
  mayBeStuck(error: unknown): boolean {
    return this.isStuck || error instanceof TimeoutError;
  }
}

/** What to do about a file of sysfs that can't be written; undefined where there is nothing to say. @param what takes root, in words */
export function refusalHint(code: string, what: string): string | undefined {
  if (code === "EROFS")
    return "sysfs is mounted read-only here, as in most containers: do it on the host, or mount it for writing (sudo mount -o remount,rw /sys)";
  return code === "EACCES" || code === "EPERM" ? `${what} needs root` : undefined;
}

/** A read of a file, or a write if there is a `text`. */
export interface FileStep {
  readonly path: string;
  readonly text?: string | undefined;
  readonly wait: KernelWait;
}

/** Anything else: done on this thread, or beside it. */
export interface OtherStep {
  now(): void;
  beside(): Promise<void>;
}

export type KernelStep = FileStep | OtherStep;

/** How long steps may take, and what gives them up. */
export interface StepLimits {
  /** Time limit in milliseconds. */
  readonly timeoutMs: number;
  /** Gives up what is done beside the thread. */
  readonly signal?: AbortSignal | undefined;
}

/** A sequence of steps, written once for both ways to do it. Each step's value is what it read. */
export type KernelSteps<T> = Generator<KernelStep, T, string>;

/** Does the steps on this thread. A step's error is thrown where the sequence waits for it. */
export function doNow<T>(steps: KernelSteps<T>): T {
  let at = steps.next();
  while (at.done !== true) {
    let found: string;
    try {
      found = now(at.value);
    } catch (error) {
      at = steps.throw(error);
      continue;
    }
    at = steps.next(found);
  }
  return at.value;
}

/** {@link doNow} without blocking the thread. */
export async function doBeside<T>(steps: KernelSteps<T>): Promise<T> {
  let at = steps.next();
  while (at.done !== true) {
    let found: string;
    try {
      found = await beside(at.value);
    } catch (error) {
      at = steps.throw(error);
      continue;
    }
    at = steps.next(found);
  }
  return at.value;
}

function now(step: KernelStep): string {
  if ("now" in step) {
    step.now();
    return "";
  }
  const { path, text, wait } = step;
  if (text === undefined) return readWithin(path, wait);
  writeWithin(path, text, wait);
  return "";
}

async function beside(step: KernelStep): Promise<string> {
  if ("beside" in step) {
    await step.beside();
    return "";
  }
  const { path, text, wait } = step;
  if (text === undefined) return await readWithinAsync(path, wait);
  await writeWithinAsync(path, text, wait);
  return "";
}

/** What {@link waitFor} waits for, and how long. */
interface Patience {
  /** Names the operation in the error. */
  readonly what: string;
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Waits for what the kernel does on another thread, which can't be stopped. @throws TimeoutError, the signal's reason */
export async function waitFor(done: Promise<void>, { what, timeoutMs, signal }: Patience): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  let forgetSignal = (): void => {};
  try {
    await new Promise<void>((resolve, reject) => {
      done.then(resolve, reject);
      if (timeoutMs !== undefined) {
        const hint = "the kernel still waits, and completes it later";
        timer = setTimeout(() => reject(new TimeoutError(what, timeoutMs, { hint })), timeoutMs);
      }
      forgetSignal = onAbort(signal, () => reject(signal?.reason));
    });
  } finally {
    clearTimeout(timer);
    forgetSignal();
  }
}
