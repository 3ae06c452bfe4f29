import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { cacheDirectory, installFile, installFolder, withLock } from "./cache.js";
import { type PackageVersion, PrivateApt } from "./debian.js";
import { GuestToolError } from "./errors.js";
import { exec } from "./exec.js";
import { BUILD_TOOLS, FETCH_TOOLS, requireTools } from "./host-tools.js";
import { packageRoot } from "./paths.js";
import type { Progress } from "./progress.js";

/** Raise when the way of building changes so that kernels built before are not good enough. */
const RECIPE = 1;

/** Lines that make prints for a whole build of 7.3.4; only the progress display needs it. */
const EXPECTED_COMPILE_LINES = 2550;

/** Below this line of kernel.config stand options that not every kernel version knows. */
const MAY_BE_ABSENT = "# may be absent";

export interface Kernel {
  /** Debian's version of the source package. */
  version: string;
  image: string;
  headers: string;
}

export interface KernelWish {
  /** "6.12": the newest of that series; otherwise the newest of all. */
  series?: string;
  /** Look for a newer version even though one is in the cache. */
  update?: boolean;
  progress: Progress;
  signal?: AbortSignal;
}

/** The kernel from the cache or, the first time, built from Debian's source. */
export async function ensureKernel(wish: KernelWish): Promise<Kernel> {
  const cache = cacheDirectory();
  const store = join(cache, "kernels");
  const fragmentFile = join(packageRoot(), "guest", "kernel.config");
  const fragment = await readFile(fragmentFile, "utf8");
  const key = cacheKey(fragment);
  // Which version to use is written down, so that a run from the cache asks nobody.
  const record = join(store, wish.series === undefined ? "latest" : `latest-${wish.series}`);

  const fromCache = async (): Promise<Kernel | undefined> => {
    const version = await readRecord(record);
    if (version === undefined) return undefined;
    const kernel = describe(join(store, `${version}-${key}`), version);
    return existsSync(kernel.image) ? kernel : undefined;
  };

  if (!wish.update) {
    const kernel = await fromCache();
    if (kernel !== undefined) return kernel;
  }
  const lock = {
    onWait: () => wish.progress.note("another process is preparing the guest's kernel: waiting for it"),
    signal: wish.signal,
  };
  return await withLock(join(store, "lock"), lock, async () => {
    // Whoever held the lock may have built just what is wanted here.
    const made = wish.update ? undefined : await fromCache();
    if (made !== undefined) return made;
    const log = join(cache, "logs", `kernel-${new Date().toISOString().replaceAll(":", "")}.log`);
    const context = { log, progress: wish.progress, ...(wish.signal ? { signal: wish.signal } : {}) };
    await requireTools(FETCH_TOOLS, context);
    const apt = new PrivateApt(join(cache, "apt"), context);
    const source = await chooseSource(apt, wish, await readRecord(record));
    const kernel = describe(join(store, `${source.version}-${key}`), source.version);
    if (existsSync(kernel.image)) {
      wish.progress.note(`Linux ${source.version} is the newest, and already built`);
    } else {
      await requireTools(BUILD_TOOLS, context);
      await build(kernel, source, apt, { ...context, fragment, fragmentFile, work: join(cache, "build") });
    }
    await installFile(record, `${source.version}\n`);
    return kernel;
  });
}

/** Tells kernels of one version apart: what was asked of them, whatever the comments say. */
function cacheKey(fragment: string): string {
  const options = fragment.split("\n").filter((line) => line.startsWith("CONFIG_"));
  return createHash("sha256")
    .update([RECIPE, ...options].join("\n"))
    .digest("hex")
    .slice(0, 12);
}

/** The uAPI headers that were installed beside a kernel image, if they were. */
export function headersBeside(image: string): string | undefined {
  const headers = join(dirname(image), "headers");
  return existsSync(join(headers, "include", "linux")) ? headers : undefined;
}

function describe(folder: string, version: string): Kernel {
  return { version, image: join(folder, "bzImage"), headers: join(folder, "headers") };
}

async function readRecord(file: string): Promise<string | undefined> {
  return existsSync(file) ? (await readFile(file, "utf8")).trim() : undefined;
}

async function chooseSource(
  apt: PrivateApt,
  wish: KernelWish,
  recorded: string | undefined,
): Promise<PackageVersion> {
  if (recorded !== undefined && !wish.update) {
    // Only the config has changed: stay with the version as long as its source is still to be had.
    const source = sourcePackage(recorded);
    if (source !== undefined && (await apt.findDownloaded(source)) !== undefined) return source;
  }
  await apt.update();
  const all = await apt.versions(/^linux-source-\d+\.\d+$/);
  const series = wish.series;
  const [newest] =
    series === undefined ? all : all.filter((found) => found.package === `linux-source-${series}`);
  if (newest === undefined) {
    throw new GuestToolError(
      `Debian offers no source of Linux${series === undefined ? "" : ` ${series}`}; there is: ${
        [...new Set(all.map((found) => found.package))].join(" ") || "nothing"
      }`,
    );
  }
  return newest;
}

/** 7.3.4-1~bpo13+1 is a version of linux-source-7.3. */
function sourcePackage(version: string): PackageVersion | undefined {
  const series = /^\d+\.\d+/.exec(version)?.[0];
  return series === undefined ? undefined : { package: `linux-source-${series}`, version };
}

interface BuildContext {
  log: string;
  progress: Progress;
  signal?: AbortSignal;
  fragment: string;
  fragmentFile: string;
  work: string;
}

async function build(
  kernel: Kernel,
  source: PackageVersion,
  apt: PrivateApt,
  context: BuildContext,
): Promise<void> {
  const started = Date.now();
  const seconds = (): number => Math.round((Date.now() - started) / 1000);
  const { progress, work } = context;
  const name = `Linux ${source.version}`;
  progress.note(`building ${name} for the guest, once; this takes some minutes (log: ${context.log})`);
  const archive = await apt.download(source);
  // The lock is ours: whatever an earlier build left here is waste.
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  try {
    const tree = await unpack(archive, source, apt, context);
    const make = (args: readonly string[], onLine?: (line: string) => void): Promise<void> =>
      exec("make", ["-C", tree, ...args], {
        log: context.log,
        // A user's MAKEFLAGS or ARCH must not decide what comes out.
        env: {
          MAKEFLAGS: "",
          ARCH: "x86",
          CROSS_COMPILE: "",
          KBUILD_BUILD_USER: "iova",
          KBUILD_BUILD_HOST: "guest",
        },
        ...(onLine ? { onLine } : {}),
        ...(context.signal ? { signal: context.signal } : {}),
      });

    progress.update(`configuring ${name}`);
    await make(["tinyconfig"]);
    await exec("sh", ["scripts/kconfig/merge_config.sh", "-m", ".config", context.fragmentFile], {
      cwd: tree,
      log: context.log,
      ...(context.signal ? { signal: context.signal } : {}),
    });
    await make(["olddefconfig"]);
    const config = await readFile(join(tree, ".config"), "utf8");
    const unmet = unmetOptions(context.fragment, config);
    if (unmet.length > 0) {
      throw new GuestToolError(`${name} did not take these options of kernel.config: ${unmet.join(" ")}`);
    }

    let lines = 0;
    await make([`-j${availableParallelism()}`, "bzImage"], (line) => {
      if (!/^ {2}[A-Z]/.test(line)) return;
      lines++;
      const percent = Math.min(99, Math.floor((lines * 100) / EXPECTED_COMPILE_LINES));
      progress.update(`compiling ${name}: ${percent} % (${seconds()} s)`);
    });
    await installFolder(dirname(kernel.image), async (staging) => {
      const headers = join(staging, "headers");
      await make(["headers_install", `INSTALL_HDR_PATH=${headers}`]);
      await copyFile(join(tree, "drivers/iommu/iommufd/iommufd_test.h"), join(headers, "iommufd_test.h"));
      await copyFile(join(tree, ".config"), join(headers, "kernel.config"));
      await copyFile(join(tree, "arch/x86/boot/bzImage"), join(staging, "bzImage"));
    });
  } finally {
    // Almost 3 GB that nobody needs any more; the package itself stays for a change of the config.
    progress.update(`removing the source tree of ${name}`);
    await rm(work, { recursive: true, force: true });
  }
  progress.note(`built ${name} in ${seconds()} s`);
}

async function unpack(
  archive: string,
  source: PackageVersion,
  apt: PrivateApt,
  context: BuildContext,
): Promise<string> {
  context.progress.update(`unpacking ${source.package}`);
  await apt.unpack(archive, context.work);
  const tarball = join(context.work, "usr", "src", `${source.package}.tar.xz`);
  let thousands = 0;
  await exec("tar", ["-xJf", tarball, "-C", context.work, "--checkpoint=10000"], {
    log: context.log,
    onLine: () => context.progress.update(`unpacking ${source.package}: ${++thousands * 100} MB`),
    ...(context.signal ? { signal: context.signal } : {}),
  });
  const tree = (await readdir(context.work)).find((entry) => entry.startsWith("linux-source"));
  if (tree === undefined) throw new GuestToolError(`${archive} holds no kernel source as it used to`);
  await rm(tarball);
  return join(context.work, tree);
}

/**
 * The options of the fragment that the finished config does not have as asked.
 * kconfig drops what depends on something missing without a word, so this has
 * to be checked.
 */
export function unmetOptions(fragment: string, config: string): string[] {
  const settings = new Map<string, string>();
  for (const line of config.split("\n")) {
    const [, name, value] = /^(CONFIG_\w+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) settings.set(name, value);
  }
  const [required = ""] = fragment.split(MAY_BE_ABSENT);
  return required.split("\n").flatMap((line) => {
    const [, name, value] = /^(CONFIG_\w+)=(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return [];
    return (settings.get(name) ?? "n") === value ? [] : [`${name}=${value}`];
  });
}
