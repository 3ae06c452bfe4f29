/** Loads kernel modules with modprobe. */
import { TimeoutError, UnsupportedError } from "../../core/errors.js";
import type { KernelSteps, StepLimits } from "./kernel-steps.js";
import {
  endText,
  type ProgramEnd,
  type ProgramRun,
  programAt,
  programPlaces,
  runProgramBeside,
  runProgramNow,
} from "./programs.js";

/** Some kernels, of clouds and appliances, have no VFIO at all. */
const ASK = "`npx iova doctor` says whether this kernel has it";

/**
 * Loads a module, and what it needs.
 * @param name with `-` or `_`, which mean the same
 * @param places where the program is looked for
 * @throws UnsupportedError: no modprobe, no such module, or no right to load it; TimeoutError; the signal's reason
 */
export function* loadModule(
  name: string,
  limits: StepLimits,
  places: readonly string[] = programPlaces("modprobe"),
): KernelSteps<void> {
  const path = programAt(places);
  if (path === undefined) {
    throw new UnsupportedError(
      `the kernel module ${name} is not loaded, and there is no modprobe in ${places.join(", ")}: install kmod, or load the module ` +
        `in another way. ${ASK}`,
    );
  }
  const { timeoutMs, signal } = limits;
  const what = `loading the kernel module ${name} with ${path}`;
  const run: ProgramRun = { path, args: ["--", name], what, timeoutMs, signal };
  yield {
    now: () => {
      try {
        assertLoaded(name, runProgramNow(run));
      } catch (error) {
        throw notLoaded(name, error);
      }
    },
    beside: async () => {
      try {
        assertLoaded(name, await runProgramBeside(run));
      } catch (error) {
        throw signal?.aborted === true ? error : notLoaded(name, error);
      }
    },
  };
}

/** @throws UnsupportedError */
function assertLoaded(name: string, end: ProgramEnd): void {
  if (end.how !== 0) throw unloadable(name, `modprobe ${endText(end)}`);
}

function notLoaded(name: string, error: unknown): unknown {
  if (error instanceof UnsupportedError || error instanceof TimeoutError || !(error instanceof Error))
    return error;
  return unloadable(name, error.message, error);
}

function unloadable(name: string, reason: string, cause?: Error): UnsupportedError {
  return new UnsupportedError(
    `the kernel module ${name} could not be loaded: ${reason}. Loading modules needs root, and the module must be among those of the ` +
      `running kernel (/lib/modules). ${ASK}`,
    cause === undefined ? undefined : { cause },
  );
}
