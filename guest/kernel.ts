/** Downloads, configures and builds the guest's kernel, and keeps it in the cache. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { cacheDirectory, installFile, installFolder, withLock } from "./cache.js";
import { type PackageVersion, PrivateApt } from "./debian.js";
import { GuestToolError } from "./errors.js";
import { exec } from "./exec.js";
import { BUILD_TOOLS, FETCH_TOOLS, requireTools } from "./host-tools.js";
import { packageRoot } from "./paths.js";
import type { Progress } from "./progress.js";

/** Raise it when kernels that were built in the old way must not be used any more. */
const RECIPE = 1;

/** Lines that make prints for a whole build of 7.3.4; only the progress display needs it. */
const EXPECTED_COMPILE_LINES = 2550;

/** Options below this line of kernel.config don't exist in every kernel version. */
const MAY_BE_ABSENT = "# may be absent";

/**
 * Other configurations of a kernel: guest/kernel-NAME.config over kernel.config. They are compiled in the tree of the
 * first one, where little changes, so those of the newest kernel are made along with it.
 */
export const kernelVariants = ["iommufd-container", "no-vfio"] as const;
export type KernelVariant = (typeof kernelVariants)[number];

export interface Kernel {
  /** Debian's version of the source package. */
  version: string;
  image: string;
  headers: string;
}

export interface KernelWish {
  /** "6.12": the newest of that series; otherwise the newest of all. */
  series?: string;
  /** kernel.config alone if left out. */
  variant?: KernelVariant;
  /** Look for a newer version even though one is in the cache. */
  update?: boolean;
  progress: Progress;
  signal?: AbortSignal;
}

/** The kernel from the cache or, the first time, built from Debian's source. */
export async function ensureKernel(wish: KernelWish): Promise<Kernel> {
  const cache = cacheDirectory();
  const store = join(cache, "kernels");
  const wanted = await readConfiguration(wish.variant);
  // The version to use is in a file, so that a run from the cache needs no network.
  const record = join(store, wish.series === undefined ? "latest" : `latest-${wish.series}`);

  const fromCache = async (): Promise<Kernel | undefined> => {
    const version = await readRecord(record);
    if (version === undefined) return undefined;
    const kernel = describe(store, version, wanted);
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
    // The process that held the lock may have built the same kernel.
    const made = wish.update ? undefined : await fromCache();
    if (made !== undefined) return made;
    const log = join(cache, "logs", `kernel-${new Date().toISOString().replaceAll(":", "")}.log`);
    const context = { log, progress: wish.progress, ...(wish.signal ? { signal: wish.signal } : {}) };
    await requireTools(FETCH_TOOLS, context);
    const apt = new PrivateApt(join(cache, "apt"), context);
    const source = await chooseSource(apt, wish, await readRecord(record));
    const variants: readonly KernelVariant[] = wish.series === undefined ? kernelVariants : [];
    const others = await Promise.all([undefined, ...variants].map(readConfiguration));
    const missing = [wanted, ...others.filter(({ key }) => key !== wanted.key)]
      .sort((a, b) => a.name.localeCompare(b.name))
      .filter((configuration) => !existsSync(describe(store, source.version, configuration).image));
    const kernel = describe(store, source.version, wanted);
    if (existsSync(kernel.image)) {
      wish.progress.note(`Linux ${source.version} is the newest, and already built`);
    } else {
      await requireTools(BUILD_TOOLS, context);
      await build(missing, source, apt, { ...context, store, work: join(cache, "build") });
    }
    await installFile(record, `${source.version}\n`);
    return kernel;
  });
}

/** One way to configure a kernel. */
interface Configuration {
  /** Empty for kernel.config alone, which therefore sorts first. */
  readonly name: string;
  /** All its options. */
  readonly fragment: string;
  readonly key: string;
}

async function readConfiguration(variant: KernelVariant | undefined): Promise<Configuration> {
  const read = (name: string): Promise<string> => readFile(join(packageRoot(), "guest", name), "utf8");
  const base = await read("kernel.config");
  const fragment = variant === undefined ? base : overlay(base, await read(`kernel-${variant}.config`));
  return { name: variant ?? "", fragment, key: cacheKey(fragment) };
}

/** The options of `over`, then those of `base` that `over` lacks. */
export function overlay(base: string, over: string): string {
  const replaced = new Set(over.match(/^CONFIG_\w+/gm));
  const rest = base.split("\n").filter((line) => !replaced.has(line.split("=", 1)[0] ?? ""));
  return `${over}\n${rest.join("\n")}`;
}

/** A hash of the options, without comments: it distinguishes kernels of one version. */
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

function describe(store: string, version: string, { key }: Configuration): Kernel {
  const folder = join(store, `${version}-${key}`);
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
    // Only the config has changed: keep the version while its source is available.
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
      `Debian offers no source of Linux${series === undefined ? "" : ` ${series}`}; choose another --series. It offers: ${
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
  store: string;
  work: string;
}

async function build(
  configurations: readonly Configuration[],
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
  // This process has the lock, so what an earlier build left here is unused.
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  try {
    const tree = await unpack(archive, source, apt, context);
    for (const [index, configuration] of configurations.entries()) {
      await compile(tree, configuration, describe(context.store, source.version, configuration), {
        ...context,
        onLine: (what, lines) => {
          // How much a second configuration compiles again isn't known in advance.
          const share = index > 0 ? `${lines} files` : percent(lines, EXPECTED_COMPILE_LINES);
          progress.update(`${what}: ${share} (${seconds()} s)`);
        },
      });
    }
  } finally {
    // Almost 3 GB that isn't needed any more. The package stays, in case the config changes.
    progress.update(`removing the source tree of ${name}`);
    await rm(work, { recursive: true, force: true });
  }
  progress.note(`built ${name} in ${seconds()} s`);
}

function percent(part: number, whole: number): string {
  return `${Math.min(99, Math.floor((part * 100) / whole))} %`;
}

/** Configures the tree, compiles it and installs what a guest needs of it. */
async function compile(
  tree: string,
  configuration: Configuration,
  kernel: Kernel,
  context: BuildContext & { onLine: (what: string, lines: number) => void },
): Promise<void> {
  const signal = context.signal === undefined ? {} : { signal: context.signal };
  const make = (args: readonly string[], onLine?: (line: string) => void): Promise<void> =>
    exec("make", ["-C", tree, ...args], {
      log: context.log,
      // The user's MAKEFLAGS and ARCH must not influence the build.
      env: {
        MAKEFLAGS: "",
        ARCH: "x86",
        CROSS_COMPILE: "",
        KBUILD_BUILD_USER: "iova",
        KBUILD_BUILD_HOST: "guest",
      },
      ...(onLine ? { onLine } : {}),
      ...signal,
    });
  const name = ["Linux", kernel.version, configuration.name].join(" ").trim();

  context.progress.update(`configuring ${name}`);
  const fragmentFile = join(context.work, "fragment.config");
  await writeFile(fragmentFile, configuration.fragment);
  await make(["tinyconfig"]);
  await exec("sh", ["scripts/kconfig/merge_config.sh", "-m", ".config", fragmentFile], {
    cwd: tree,
    log: context.log,
    ...signal,
  });
  await make(["olddefconfig"]);
  const config = await readFile(join(tree, ".config"), "utf8");
  const unmet = unmetOptions(configuration.fragment, config);
  if (unmet.length > 0) {
    throw new GuestToolError(
      `${name} lacks these options of guest/kernel*.config: ${unmet.join(" ")}; add what they depend on`,
    );
  }

  let lines = 0;
  await make([`-j${availableParallelism()}`, "bzImage"], (line) => {
    if (/^ {2}[A-Z]/.test(line)) context.onLine(`compiling ${name}`, ++lines);
  });
  await installFolder(dirname(kernel.image), async (staging) => {
    const headers = join(staging, "headers");
    await make(["headers_install", `INSTALL_HDR_PATH=${headers}`]);
    await copyFile(join(tree, "drivers/iommu/iommufd/iommufd_test.h"), join(headers, "iommufd_test.h"));
    await copyFile(join(tree, ".config"), join(headers, "kernel.config"));
    await copyFile(join(tree, "arch/x86/boot/bzImage"), join(staging, "bzImage"));
  });
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
  if (tree === undefined)
    throw new GuestToolError(`${archive} contains no folder linux-source-*; delete it and try again`);
  await rm(tarball);
  return join(context.work, tree);
}

/**
 * The options of the fragment that the finished config does not have as asked.
 * kconfig silently drops options whose dependencies are missing.
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
