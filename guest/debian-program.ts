import { existsSync } from "node:fs";
import { chmod, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, installFile, installFolder, withLock } from "./cache.js";
import { PrivateApt } from "./debian.js";
import { GuestToolError } from "./errors.js";
import { FETCH_TOOLS, requireTools } from "./host-tools.js";
import type { Progress } from "./progress.js";

const LIBRARIES = "usr/lib/x86_64-linux-gnu";

/**
 * Runs the program beside this script with the C library it was built for, from wherever it is called.
 * @param folders of libraries below {@link LIBRARIES}: some packages keep their own there
 */
const launcher = (name: string, folders: readonly string[]): string => `#!/bin/sh
here=\${0%/*}
libraries=$here/${LIBRARIES}
exec "$libraries/ld-linux-x86-64.so.2" --argv0 ${name} \\
  --library-path "${["", ...folders.map((folder) => `/${folder}`)].map((folder) => `$libraries${folder}`).join(":")}" \\
  "$here/usr/bin/${name}" "$@"
`;

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
 * @param name of the package and of the program
 * @returns the program
 * @throws GuestToolError in one line, where Debian's mirror has none or can't be reached
 */
export async function ensureDebianProgram(
  name: string,
  context: { progress: Progress; signal?: AbortSignal },
): Promise<string> {
  const { progress, signal } = context;
  const cache = cacheDirectory();
  const store = join(cache, "programs", name);
  const record = join(store, "latest");
  const programOf = (version: string): string => join(store, version.replaceAll(/[^\w.+~-]/g, "_"), name);
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
    const log = join(cache, "logs", `${name}-${new Date().toISOString().replaceAll(":", "")}.log`);
    const tools = { log, progress, ...(signal ? { signal } : {}) };
    await requireTools(FETCH_TOOLS, tools);
    const apt = new PrivateApt(join(cache, "apt"), tools);
    await apt.update();
    const archives = join(store, "archives");
    let failure: unknown;
    // The newest suite can't always be installed from; the next one has its own build.
    for (const wanted of await apt.versions(new RegExp(`^${name}$`))) {
      try {
        const program = programOf(wanted.version);
        const packages = await apt.downloadWithDependencies(wanted, archives);
        await installFolder(join(program, ".."), async (staging) => {
          for (const [index, file] of packages.entries()) {
            progress.update(`unpacking ${name}: ${index + 1} of ${packages.length} packages`);
            await apt.unpack(file, staging);
          }
          await writeFile(join(staging, name), launcher(name, await libraryFolders(staging)));
          await chmod(join(staging, name), 0o755);
        });
        await installFile(record, `${wanted.version}\n`);
        progress.note(`unpacked Debian's ${name} ${wanted.version} into ${store}`);
        return program;
      } catch (error) {
        if (!(error instanceof GuestToolError)) throw error;
        failure = error;
      } finally {
        await rm(archives, { recursive: true, force: true });
      }
    }
    throw new GuestToolError(`no ${name} from Debian's mirror (${log})`, { cause: failure });
  });
}
