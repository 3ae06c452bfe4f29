/** Makes a program of a Debian package runnable from the cache, with the libraries it needs. */
import { existsSync } from "node:fs";
import { chmod, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, installFile, installFolder, withLock } from "./cache.js";
import { compareDebianVersions, PrivateApt } from "./debian.js";
import { GuestToolError } from "./errors.js";
import { FETCH_TOOLS, requireTools } from "./host-tools.js";
import type { Progress } from "./progress.js";

const LIBRARIES = "usr/lib/x86_64-linux-gnu";

/** Raise it when programs that were unpacked in the old way must not be used any more. */
const RECIPE = 1;

/** A program from Debian's packages, independent of this system's release. */
export interface DebianProgram {
  /** Its name below usr/bin of the package. */
  readonly program: string;
  readonly packageName: string;
  /** The oldest version that is accepted; any if left out. */
  readonly firstVersion?: string;
  /** What is missing without it, for the error. */
  readonly what: string;
  /** Shell lines that run before the program: $here is its folder, $libraries that of its libraries. */
  readonly preparation?: string;
  /** Arguments before those of the caller; may contain $here. */
  readonly firstArguments?: string;
}

/** Runs the program beside this script with the C library it was built for, from wherever it is called. */
function launcher(
  { program, preparation = ":", firstArguments = "" }: DebianProgram,
  folders: readonly string[],
): string {
  const libraries = ["", ...folders.map((folder) => `/${folder}`)].map((folder) => `$libraries${folder}`);
  return `#!/bin/sh
here=\${0%/*}
libraries=$here/${LIBRARIES}
${preparation}
exec "$libraries/ld-linux-x86-64.so.2" --argv0 ${program} \\
  --library-path "${libraries.join(":")}" \\
  "$here/usr/bin/${program}" ${firstArguments} "$@"
`;
}

/** Folders of libraries below {@link LIBRARIES}, where some packages keep their own. */
async function libraryFolders(root: string): Promise<string[]> {
  const libraries = join(root, LIBRARIES);
  const folders = (await readdir(libraries, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const found: string[] = [];
  for (const { name } of folders) {
    const files = await readdir(join(libraries, name));
    if (files.some((file) => /^lib.*\.so\./.test(file))) found.push(name);
  }
  return found;
}

/**
 * A program of Debian's newest suites with everything it depends on, unpacked into a folder of the cache: nothing is
 * installed, and it runs here and in the guest. Fetched once.
 * @returns the program
 * @throws GuestToolError in one line, where Debian's mirror has none or can't be reached
 */
export async function ensureDebianProgram(
  wanted: DebianProgram,
  context: { progress: Progress; signal?: AbortSignal },
): Promise<string> {
  const { program, packageName, firstVersion, what } = wanted;
  const { progress, signal } = context;
  const cache = cacheDirectory();
  const store = join(cache, "programs", program);
  const record = join(store, "latest");
  const pathOf = (version: string): string =>
    join(store, `${version.replaceAll(/[^\w.+~-]/g, "_")}-${RECIPE}`, program);
  const fromCache = async (): Promise<string | undefined> => {
    if (!existsSync(record)) return undefined;
    const path = pathOf((await readFile(record, "utf8")).trim());
    return existsSync(path) ? path : undefined;
  };

  const cached = await fromCache();
  if (cached !== undefined) return cached;
  const lock = {
    onWait: () => progress.note("another process is reading Debian's packages: waiting for it"),
    signal,
  };
  // The lock of kernel builds also protects the private apt.
  return await withLock(join(cache, "kernels", "lock"), lock, async () => {
    const made = await fromCache();
    if (made !== undefined) return made;
    const log = join(cache, "logs", `${program}-${new Date().toISOString().replaceAll(":", "")}.log`);
    const tools = { log, progress, ...(signal ? { signal } : {}) };
    await requireTools(FETCH_TOOLS, tools);
    const apt = new PrivateApt(join(cache, "apt"), tools);
    try {
      await apt.update();
    } catch (cause) {
      if (!(cause instanceof GuestToolError)) throw cause;
      throw new GuestToolError(
        `${what}: Debian's package lists can't be read; check the network (log: ${log})`,
        { cause },
      );
    }
    const found = await apt.versions(new RegExp(`^${packageName}$`));
    const usable = found.filter(
      ({ version }) => firstVersion === undefined || compareDebianVersions(version, firstVersion) >= 0,
    );
    const archives = join(store, "archives");
    let failure: unknown;
    // The newest suite can't always be installed from; the next one has another build.
    for (const candidate of usable) {
      const path = pathOf(candidate.version);
      const title = `${packageName} ${candidate.version}`;
      try {
        const packages = await apt.downloadWithDependencies(candidate, archives);
        await installFolder(join(path, ".."), async (staging) => {
          for (const [index, file] of packages.entries()) {
            progress.update(`unpacking ${title}: ${index + 1} of ${packages.length} packages`);
            await apt.unpack(file, staging);
          }
          await writeFile(join(staging, program), launcher(wanted, await libraryFolders(staging)));
          await chmod(join(staging, program), 0o755);
        });
        await installFile(record, `${candidate.version}\n`);
        progress.note(`unpacked Debian's ${title} into ${store}`);
        return path;
      } catch (error) {
        if (!(error instanceof GuestToolError)) throw error;
        failure = error;
      } finally {
        await rm(archives, { recursive: true, force: true });
      }
    }
    const versions = (list: readonly { version: string }[]): string =>
      list.map(({ version }) => version).join(", ") || "none";
    throw new GuestToolError(
      usable.length === 0
        ? `${what}: Debian's mirror offers ${versions(found)}; use another mirror`
        : `${what}: ${versions(usable)} can't be downloaded; check the network (log: ${log})`,
      { cause: failure },
    );
  });
}
