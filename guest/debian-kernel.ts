/** Debian's own kernel of an older release, with its modules: fetched as a package and unpacked into the cache. */
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheDirectory, installFile, installFolder, withLock } from "./cache.js";
import { PrivateApt } from "./debian.js";
import { GuestToolError } from "./errors.js";
import { exec } from "./exec.js";
import { FETCH_TOOLS, KMOD, requireTools } from "./host-tools.js";
import { findProgram } from "./paths.js";
import type { Progress } from "./progress.js";

/** Debian 12's: no iommufd, nearly everything a module. */
const PACKAGES = /^linux-image-6\.1\.0-\d+-amd64$/;
/** Raise it when packages that were unpacked in the old way must not be used any more. */
const RECIPE = 1;
/** 70 MB take seconds; a mirror that sends nothing must not stop a test run. */
const LIMIT_MS = 15 * 60_000;

/** What has to be loaded before there is a root: serial ports and files of the host, the overlay; and the disk's driver, as on any host. */
const EARLY = ["virtio_console", "virtio_pci", "9p", "9pnet_virtio", "overlay", "nvme"];

/** A kernel of a distribution, in a folder of the cache. */
export interface PackagedKernel {
  /** As `uname -r` prints it. */
  readonly release: string;
  readonly image: string;
  /** Its configuration, as the package has it. */
  readonly config: string;
  /** The folder of its modules, with their lists. */
  readonly modules: string;
}

/**
 * The kernel from the cache or, the first time, from Debian's mirror: 70 MB, and 400 MB when unpacked.
 * @throws GuestToolError in one line, where the mirror has none, or can't be reached in 15 minutes
 */
export async function ensureDebianKernel(context: {
  progress: Progress;
  signal?: AbortSignal | undefined;
}): Promise<PackagedKernel> {
  const { progress } = context;
  const cache = cacheDirectory();
  const store = join(cache, "kernels", "debian");
  const record = join(store, "release");
  const describe = (release: string): PackagedKernel => {
    const folder = join(store, `${release}-${RECIPE}`);
    const modules = join(folder, "modules");
    return { release, image: join(folder, "vmlinuz"), config: join(folder, `config-${release}`), modules };
  };
  const fromCache = async (): Promise<PackagedKernel | undefined> => {
    if (!existsSync(record)) return undefined;
    const kernel = describe((await readFile(record, "utf8")).trim());
    return existsSync(kernel.image) ? kernel : undefined;
  };

  const cached = await fromCache();
  if (cached !== undefined) return cached;
  const lock = {
    onWait: () => progress.note("another process is preparing a kernel: waiting for it"),
    signal: context.signal,
  };
  return await withLock(join(cache, "kernels", "lock"), lock, async () => {
    const made = await fromCache();
    if (made !== undefined) return made;
    const log = join(cache, "logs", `debian-kernel-${new Date().toISOString().replaceAll(":", "")}.log`);
    const own = context.signal === undefined ? {} : { signal: context.signal };
    await requireTools([...FETCH_TOOLS, KMOD], { log, progress, ...own });
    const limit = AbortSignal.timeout(LIMIT_MS);
    const signal = context.signal === undefined ? limit : AbortSignal.any([context.signal, limit]);
    const apt = new PrivateApt(join(cache, "apt"), { log, progress, signal });
    try {
      await apt.update();
      const [newest] = await apt.versions(PACKAGES);
      if (newest === undefined) throw new GuestToolError("it offers no linux-image-6.1.0-*-amd64");
      const archive = await apt.download(newest);
      const kernel = describe(newest.package.replace("linux-image-", ""));
      progress.update(`unpacking ${newest.package}`);
      await installFolder(dirname(kernel.image), async (staging) => {
        const parts = join(staging, "package");
        await mkdir(parts);
        await apt.unpack(archive, parts);
        // The package makes the lists when it is installed.
        await exec(findProgram("depmod", "/usr/sbin:/sbin") ?? "depmod", ["-b", parts, kernel.release], {
          log,
          signal,
        });
        const boot = join(parts, "boot");
        await copyFile(join(boot, `vmlinuz-${kernel.release}`), join(staging, "vmlinuz"));
        await copyFile(join(boot, `config-${kernel.release}`), join(staging, `config-${kernel.release}`));
        await rename(join(parts, "lib", "modules", kernel.release), join(staging, "modules"));
        await rm(parts, { recursive: true });
      });
      await installFile(record, `${kernel.release}\n`);
      progress.note(`unpacked Debian's ${newest.package} ${newest.version} into ${store}`);
      return kernel;
    } catch (cause) {
      context.signal?.throwIfAborted();
      if (!(cause instanceof GuestToolError) && !limit.aborted) throw cause;
      const why = limit.aborted ? `not done after ${LIMIT_MS / 60_000} minutes` : said(cause);
      throw new GuestToolError(
        `no kernel of Debian 12: ${why}; check the network and the mirror (log: ${log})`,
        { cause },
      );
    }
  });
}

function said(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split(/\.? The end of|\n/, 1)[0] ?? "";
}

/** Paths of the modules that a guest needs before it has a root, in the order to load them in. */
export async function earlyModules(kernel: PackagedKernel): Promise<string[]> {
  const text = await readFile(join(kernel.modules, "modules.dep"), "utf8");
  return inLoadOrder(text, EARLY).map((path) => join(kernel.modules, path));
}

/**
 * Modules and what they need, each once, what is needed first.
 * @param dependencies text of modules.dep: a path, a colon, and what it needs, the nearest first
 * @throws GuestToolError: a name is missing
 */
export function inLoadOrder(dependencies: string, names: readonly string[]): string[] {
  const lines = dependencies.split("\n");
  const ordered = names.flatMap((name) => {
    const line = lines.find((each) => each.slice(0, each.indexOf(":")).endsWith(`/${name}.ko`));
    if (line === undefined) throw new GuestToolError(`this kernel has no module ${name}; choose another`);
    return line.replace(":", "").trim().split(/\s+/).reverse();
  });
  return [...new Set(ordered)];
}
