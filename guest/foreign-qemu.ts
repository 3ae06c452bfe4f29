import { existsSync } from "node:fs";
import { chmod, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, installFile, installFolder, withLock } from "./cache.js";
import { compareDebianVersions, PrivateApt } from "./debian.js";
import { GuestToolError } from "./errors.js";
import { FETCH_TOOLS, requireTools } from "./host-tools.js";
import type { Progress } from "./progress.js";

/** The first that has vfio-user-pci. Stable Debian's doesn't. */
const FIRST_VERSION = "1:11.0";
const WHAT = "no QEMU with vfio-user-pci (11 or newer)";
/** Raise when the way of unpacking changes so that what was unpacked before is not good enough. */
const RECIPE = 1;

/**
 * Runs the QEMU beside this script with the C library it was built for. Its modules and firmware are named, since it looks
 * for them where they would be installed.
 */
const LAUNCHER = `#!/bin/sh
here=\${0%/*}
libraries=$here/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$libraries/qemu"
exec "$libraries/ld-linux-x86-64.so.2" --argv0 qemu-system-x86_64 --library-path "$libraries" \\
  "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" "$@"
`;

/**
 * A QEMU newer than the system's, from Debian's newest suites with everything it depends on, unpacked into a folder of the
 * cache: nothing is installed. Fetched once, 45 MB.
 * @returns the program
 * @throws GuestToolError in one line, where Debian's mirror has none or can't be reached
 */
export async function ensureForeignQemu(context: {
  progress: Progress;
  signal?: AbortSignal;
}): Promise<string> {
  const { progress, signal } = context;
  const cache = cacheDirectory();
  const store = join(cache, "qemu");
  const record = join(store, "latest");
  const programOf = (version: string): string =>
    join(store, `${version.replaceAll(/[^\w.+~-]/g, "_")}-${RECIPE}`, "qemu-system-x86_64");
  const fromCache = async (): Promise<string | undefined> => {
    if (!existsSync(record)) return undefined;
    const program = programOf((await readFile(record, "utf8")).trim());
    return existsSync(program) ? program : undefined;
  };

  const cached = await fromCache();
  if (cached !== undefined) return cached;
  const lock = {
    onWait: () => progress.note("another process is reading Debian's packages: waiting for it"),
    signal,
  };
  // The kernels' lock: whoever holds it has the private apt to itself.
  return await withLock(join(cache, "kernels", "lock"), lock, async () => {
    const made = await fromCache();
    if (made !== undefined) return made;
    const log = join(cache, "logs", `qemu-${new Date().toISOString().replaceAll(":", "")}.log`);
    const tools = { log, progress, ...(signal ? { signal } : {}) };
    await requireTools(FETCH_TOOLS, tools);
    const apt = new PrivateApt(join(cache, "apt"), tools);
    try {
      await apt.update();
    } catch (cause) {
      if (!(cause instanceof GuestToolError)) throw cause;
      throw new GuestToolError(`${WHAT}: Debian's package lists could not be read (${log})`, { cause });
    }
    const found = await apt.versions(/^qemu-system-x86$/);
    const usable = found.filter(({ version }) => compareDebianVersions(version, FIRST_VERSION) >= 0);
    let failure: unknown;
    // The newest suite can't always be installed from; the next one has its own build.
    for (const wanted of usable) {
      const program = programOf(wanted.version);
      const archives = join(store, "archives");
      try {
        const packages = await apt.downloadWithDependencies(wanted, archives);
        await installFolder(join(program, ".."), async (staging) => {
          for (const [index, file] of packages.entries()) {
            progress.update(`unpacking QEMU ${wanted.version}: ${index + 1} of ${packages.length} packages`);
            await apt.unpack(file, staging);
          }
          const launcher = join(staging, "qemu-system-x86_64");
          await writeFile(launcher, LAUNCHER);
          await chmod(launcher, 0o755);
        });
        await installFile(record, `${wanted.version}\n`);
        progress.note(`unpacked QEMU ${wanted.version}, for its vfio-user-pci, into ${store}`);
        return program;
      } catch (error) {
        if (!(error instanceof GuestToolError)) throw error;
        failure = error;
      } finally {
        await rm(archives, { recursive: true, force: true });
      }
    }
    const offered = found.map(({ version }) => version).join(", ") || "none";
    throw new GuestToolError(
      usable.length === 0
        ? `${WHAT}: Debian's mirror offers ${offered}`
        : `${WHAT}: ${usable.map(({ version }) => version).join(", ")} could not be fetched (${log})`,
      { cause: failure },
    );
  });
}
