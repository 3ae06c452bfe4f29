/** Loads kernel modules with modprobe. */
import type ChildProcess from "node:child_process";
import { accessSync, constants } from "node:fs";
import { TimeoutError, UnsupportedError } from "../../core/errors.js";
import { lazily } from "../../core/lazy.js";
import { onAbort } from "../../core/listeners.js";
import { requireFromHere } from "../../core/module-url.js";
import type { KernelSteps, StepLimits } from "./kernel-steps.js";

// Loading it takes some milliseconds, and few programs need it.
const childProcess = lazily((): typeof ChildProcess => requireFromHere("node:child_process"));

/** Where distributions have it. PATH isn't asked: root runs the program. */
const PLACES = ["/usr/sbin/modprobe", "/sbin/modprobe", "/usr/bin/modprobe", "/bin/modprobe"];

/**
 * Loads a module, and what it needs.
 * @param name with `-` or `_`, which mean the same
 * @param places where the program is looked for
 * @throws UnsupportedError: no modprobe, no such module, or no right to load it; TimeoutError; the signal's reason
 */
export function* loadModule(
  name: string,
  limits: StepLimits,
  places: readonly string[] = PLACES,
): KernelSteps<void> {
  const program = places.find(isProgram);
  if (program === undefined) {
    throw new UnsupportedError(
      `the kernel module ${name} is not loaded, and there is no modprobe in ${places.join(", ")}: install kmod, or load the module ` +
        "in another way",
    );
  }
  const args = ["--", name];
  const tooLong = (): TimeoutError =>
    new TimeoutError(`loading the kernel module ${name} with ${program}`, limits.timeoutMs, {
      hint: "the kernel's log may say more",
    });
  yield {
    now: () => {
      const { error, stderr, status } = childProcess().spawnSync(program, args, {
        ...options(),
        timeout: limits.timeoutMs,
      });
      if (error !== undefined && "code" in error && error.code === "ETIMEDOUT") throw tooLong();
      if (error !== undefined || status !== 0)
        throw notLoaded(name, stderr, error ?? `it ended with status ${status}`);
    },
    beside: async () => {
      const scope = new AbortController();
      const timer = setTimeout(() => scope.abort(tooLong()), limits.timeoutMs);
      const forgetSignal = onAbort(limits.signal, () => scope.abort(limits.signal?.reason));
      try {
        await new Promise<void>((resolve, reject) => {
          const given = { ...options(), signal: scope.signal };
          const child = childProcess().execFile(program, args, given, (error, _stdout, stderr) => {
            if (scope.signal.aborted) reject(scope.signal.reason);
            else if (error === null) resolve();
            else {
              const how = typeof error.code === "number" ? `it ended with status ${error.code}` : error;
              reject(notLoaded(name, stderr, how));
            }
          });
          child.stdin?.end();
        });
      } finally {
        clearTimeout(timer);
        forgetSignal();
      }
    },
  };
}

const options = () =>
  ({
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    encoding: "utf8",
    killSignal: "SIGKILL",
  }) as const;

/** @param how the program ended, or why it couldn't be started */
function notLoaded(name: string, stderr: string | null, how: Error | string): UnsupportedError {
  const said = stderr?.trim() || (how instanceof Error ? how.message : how);
  return new UnsupportedError(
    `the kernel module ${name} could not be loaded: ${said}. Loading modules needs root, and the module must be among those of the ` +
      "running kernel (/lib/modules)",
    how instanceof Error ? { cause: how } : undefined,
  );
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
