/** The user's command: where its program is, and how it is quoted for the guest's shell. */
import { accessSync, constants } from "node:fs";
import { isBelow } from "./paths.js";

/** Where the guest mounts the folder that it shares, writable, with the host. */
export const GUEST_SHARE = "/mnt/share";

/** Folders of which the guest has its own: nothing of the host's is seen there. */
const GUEST_OWN = ["/dev", "/proc", "/sys", "/run", GUEST_SHARE];

/** Folders that start out empty in the guest, unless something that is needed lies there. */
const FRESH = ["/tmp", "/root"];

const PASSED_ON = /^(CI|NODE_OPTIONS|FORCE_COLOR|NO_COLOR|TERM|LANG|LC_ALL|TZ|IOVA_.*|VITEST.*)$/;

/** What of the caller's environment the command gets to see, and what it is told about the guest. */
export function guestEnvironment(
  caller: Readonly<Record<string, string | undefined>>,
  extra: Readonly<Record<string, string>>,
): Record<string, string> {
  const environment: Record<string, string> = { TERM: "dumb" };
  for (const [name, value] of Object.entries(caller)) {
    if (value !== undefined && PASSED_ON.test(name)) environment[name] = value;
  }
  return {
    ...environment,
    PATH: caller["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    IOVA_GUEST: "1",
    IOVA_GUEST_SHARE: GUEST_SHARE,
    ...extra,
  };
}

/** The script that becomes the command, in its folder and with its environment and nothing else. */
export function commandScript(
  cwd: string,
  environment: Readonly<Record<string, string>>,
  program: string,
  args: readonly string[],
): string {
  const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const words = [...settings, program, ...args].map(quote).join(" ");
  return `cd ${quote(cwd)} || exit 125\nexec /run/iova-guest/busybox env -i ${words}\n`;
}

/** One word for a shell, whatever is in it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** The first of these paths that the guest cannot see, since it has its own folder there. */
export function findHidden(paths: readonly string[]): string | undefined {
  return paths.find((path) => GUEST_OWN.some((folder) => isBelow(path, folder)));
}

/**
 * Which folders the guest starts with empty. /tmp keeps the host's files (which
 * the guest sees, and whose changes stay in the guest) when the checkout itself
 * is there; /root is the caller's to see only when the caller may read it.
 */
export function freshFolders(needed: readonly string[]): string[] {
  return FRESH.filter((folder) => {
    if (needed.some((path) => isBelow(path, folder))) return false;
    return folder === "/tmp" || !isReadable(folder);
  });
}

function isReadable(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
