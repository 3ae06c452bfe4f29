/** Programs that steps run. */
import { isAbsolute, join } from "node:path";
import { TimeoutError } from "../../core/errors.js";
import { bindToVfioAsync, unbindFromVfioAsync } from "../../pci/bind.js";
import {
  endText,
  PROGRAM_FOLDERS,
  programAt,
  programPlaces,
  runProgramBeside,
} from "../../pci/steps/programs.js";
import { HostChangeError, reasonOf } from "./errors.js";

/** What makes an initial RAM disk takes minutes. */
const TIMEOUT_MS = 15 * 60_000;

/** What this library does itself: `npx iova bind BDF`, with a driver, and `npx iova unbind BDF`. */
function ownCommand(root: string, argv: readonly string[]): (() => Promise<void>) | undefined {
  const [npx, iova, verb, bdf, ...more] = argv;
  if (root !== "/" || npx !== "npx" || iova !== "iova" || bdf === undefined) return undefined;
  const [option, driver, ...others] = more;
  if (verb === "unbind" && option === undefined)
    return async () => {
      await unbindFromVfioAsync(bdf);
    };
  const isBind = verb === "bind" && others.length === 0;
  if (!isBind || (option !== undefined && (option !== "--driver" || driver === undefined))) return undefined;
  return async () => {
    (await bindToVfioAsync(bdf, { driver })).relinquish();
  };
}

/**
 * Checks that a program is there.
 * @param root folder below which it is looked for
 * @throws HostChangeError
 */
export function assertProgram(root: string, argv: readonly string[]): void {
  if (ownCommand(root, argv) === undefined) programPath(root, argv[0] ?? "");
}

/** @throws HostChangeError */
function programPath(root: string, name: string): string {
  const relative = name.includes("/") ? [] : programPlaces(name, root);
  const found = programAt(isAbsolute(name) ? [join(root, name)] : relative);
  if (found === undefined)
    throw new HostChangeError(`there is no program ${name} in ${PROGRAM_FOLDERS.join(", ")}: install it`);
  return found;
}

/** Whether a program is there. */
export function hasProgram(root: string, name: string): boolean {
  return programAt(programPlaces(name, root)) !== undefined;
}

/** Runs a program to its end. @throws HostChangeError: it isn't there, or failed; TimeoutError */
export async function runProgram(root: string, argv: readonly string[]): Promise<void> {
  const own = ownCommand(root, argv);
  if (own !== undefined) {
    await own();
    return;
  }
  const [name = "", ...args] = argv;
  const what = argv.join(" ");
  const run = { path: programPath(root, name), args, what, cwd: root, timeoutMs: TIMEOUT_MS };
  const end = await runProgramBeside(run).catch((error: unknown) => {
    if (error instanceof TimeoutError) throw error;
    throw new HostChangeError(`${what} could not be started: ${reasonOf(error)}`, { cause: error });
  });
  if (end.how !== 0) throw new HostChangeError(`${what} ${endText(end)}`);
}
