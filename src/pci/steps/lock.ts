/** A lock for each function, so that two programs that bind it do so one after the other. */
import { constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { BusyError } from "../../core/errors.js";
import { lockFile, openFile } from "../../sys/files.js";
import { close } from "../../sys/syscalls.js";
import type { KernelSteps, OtherStep, StepLimits } from "./kernel-steps.js";

/** Only root can write in it, so that no other user can keep a lock. */
const FOLDER = "/run/iova";
const POLL_MS = 20;

/** Locks that this thread has. A call that blocks it would wait for one of them in vain. */
const heldHere = new Set<string>();

/**
 * Takes the lock of a function, and waits for who has it. Where the folder can't be written, as without root, there is no lock, and
 * the steps that need it fail by themselves.
 * @param folder where locks are
 * @throws BusyError after the time limit; the signal's reason
 */
export function* lockFunction(
  bdf: string,
  { timeoutMs, signal }: StepLimits,
  folder = FOLDER,
): KernelSteps<Disposable> {
  const path = join(folder, `${bdf}.lock`);
  const fd = openLock(folder, path);
  if (fd === undefined) return { [Symbol.dispose]: () => {} };
  const end = performance.now() + timeoutMs;
  try {
    while (!lockFile(fd)) {
      if (performance.now() >= end) {
        throw new BusyError(
          `another program has been binding or unbinding ${bdf} for ${timeoutMs} ms (it holds ${path})`,
        );
      }
      yield pause(bdf, path, signal);
    }
  } catch (error) {
    close(fd);
    throw error;
  }
  heldHere.add(path);
  // The file stays: who waits for the lock has it open.
  return {
    [Symbol.dispose]: () => {
      heldHere.delete(path);
      close(fd);
    },
  };
}

function pause(bdf: string, path: string, signal: AbortSignal | undefined): OtherStep {
  return {
    now: () => {
      if (heldHere.has(path))
        throw new BusyError(`this program is binding or unbinding ${bdf}: await that promise first`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
    },
    beside: async () => {
      await setTimeout(POLL_MS);
      signal?.throwIfAborted();
    },
  };
}

function openLock(folder: string, path: string): number | undefined {
  try {
    // Not `recursive`: in a folder like /proc, Node.js then tries without an end.
    mkdirSync(folder, { mode: 0o755 });
  } catch {
    // It is there, or openFile() fails.
  }
  try {
    return openFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch {
    return undefined;
  }
}
