/** The user's command: where its program is, and how it is quoted for the guest's shell. */
import { accessSync, constants } from "node:fs";
import { isBelow } from "./paths.js";

/** Where the guest mounts the folder that it shares, writable, with the host. */
export const GUEST_SHARE = "/mnt/share";

/** Folders that the guest has its own of, without the host's files. */
const GUEST_OWN = ["/dev", "/proc", "/sys", "/run", GUEST_SHARE];

/** Folders that are empty in the guest, unless they have something that the command needs. */
const FRESH = ["/tmp", "/root"];

const PASSED_ON = /^(CI|NODE_OPTIONS|FORCE_COLOR|NO_COLOR|TERM|LANG|LC_ALL|TZ|IOVA_.*|VITEST.*)$/;

/** The command's environment: some of the caller's variables, and those about the guest. */
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

/** The script that runs the command in its folder, with exactly its environment. */
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

/** Quotes any text as one word for a shell. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** The first of these paths that the guest can't see, because it has its own folder there. */
export function findHidden(paths: readonly string[]): string | undefined {
  return paths.find((path) => GUEST_OWN.some((folder) => isBelow(path, folder)));
}

/**
 * The folders that are empty in the guest. /tmp has the host's files if the
 * checkout is there (changes stay in the guest); /root does if the caller may
 * read it.
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
