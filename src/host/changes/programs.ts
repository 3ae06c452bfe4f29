/** Programs that steps run: without a shell, from the system's folders, with the system's PATH. */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { isAbsolute, join } from "node:path";
import { bindToVfioAsync, unbindFromVfioAsync } from "../../pci/bind.js";
import { HostChangeError, reasonOf } from "./errors.js";

/** PATH isn't asked: root runs the program. */
const FOLDERS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/** What makes an initial RAM disk takes minutes. */
const TIMEOUT_MS = 15 * 60_000;
const SAID = 2000;

/** What this library does itself: `npx iova bind BDF` and `npx iova unbind BDF`. */
function ownCommand(root: string, argv: readonly string[]): (() => Promise<void>) | undefined {
  const [npx, iova, verb, bdf, ...more] = argv;
  if (root !== "/" || npx !== "npx" || iova !== "iova" || bdf === undefined || more.length > 0)
    return undefined;
  if (verb === "bind")
    return async () => {
      (await bindToVfioAsync(bdf)).relinquish();
    };
  if (verb === "unbind")
    return async () => {
      await unbindFromVfioAsync(bdf);
    };
  return undefined;
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
  const places = isAbsolute(name)
    ? [name]
    : name.includes("/")
      ? []
      : FOLDERS.map((folder) => `${folder}/${name}`);
  const found = places.map((place) => join(root, place)).find(isProgram);
  if (found === undefined)
    throw new HostChangeError(`there is no program ${name} in ${FOLDERS.join(", ")}: install it`);
  return found;
}

/** Whether a program is there. */
export function hasProgram(root: string, name: string): boolean {
  return FOLDERS.some((folder) => isProgram(join(root, folder, name)));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs a program to its end. @throws HostChangeError: it isn't there, or failed */
export async function runProgram(root: string, argv: readonly string[]): Promise<void> {
  const own = ownCommand(root, argv);
  if (own !== undefined) {
    await own();
    return;
  }
  const [name = "", ...args] = argv;
  const path = programPath(root, name);
  const child = spawn(path, args, {
    cwd: root,
    env: { PATH: FOLDERS.join(":"), LC_ALL: "C" },
    stdio: ["ignore", "ignore", "pipe"],
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-SAID);
  });
  const how = await new Promise<number | string | null>((resolve, reject) => {
    child.once("error", (error) =>
      reject(
        new HostChangeError(`${argv.join(" ")} could not be started: ${reasonOf(error)}`, { cause: error }),
      ),
    );
    child.once("close", (status, signal) => resolve(signal ?? status));
  });
  if (how === 0) return;
  const end = typeof how === "number" ? `ended with status ${how}` : `was ended by ${how}`;
  const reason = said.trim();
  throw new HostChangeError(`${argv.join(" ")} ${end}${reason === "" ? "" : `: ${reason}`}`);
}
