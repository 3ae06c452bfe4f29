/** Prepares a guest, runs a command in it, and cleans up. */
import { randomBytes } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, isAbsolute, join, resolve } from "node:path";
import { type GuestResult, RunningGuest } from "./boot.js";
import { cacheDirectory } from "./cache.js";
import { commandScript, findHidden, freshFolders, guestEnvironment, quote } from "./command.js";
import { earlyModules, ensureDebianKernel, type PackagedKernel } from "./debian-kernel.js";
import { GuestToolError } from "./errors.js";
import { BUSYBOX, findStaticBusybox, isKvmUsable, QEMU, requireTools } from "./host-tools.js";
import { type ArchiveEntry, writeArchive } from "./initramfs.js";
import { ensureKernel, headersBeside, type KernelVariant } from "./kernel.js";
import type { Sink } from "./output.js";
import { findProgram, packageRoot } from "./paths.js";
import { listenOnPorts } from "./ports.js";
import { type Progress, silentProgress } from "./progress.js";
import { DEFAULT_APPEND, type Machine, PORT_NAME_PREFIX, ROOT_TAG, SHARE_TAG } from "./qemu.js";

const STATUS_NOT_FOUND = 127;
const NVME_SIZE_BYTES = 64 * 1024 * 1024;

export { type GuestResult, STATUS_BROKEN_PIPE } from "./boot.js";
export type { Sink } from "./output.js";

export interface GuestOptions {
  /** The program and its arguments; found by the caller's PATH. */
  command: readonly string[];
  /** Folder the command runs in; default: the caller's. */
  cwd?: string;
  /** Environment of the command, over what every guest gets. */
  env?: Readonly<Record<string, string>>;
  /** Default "3G". */
  memory?: string;
  /** Default 2. */
  cpus?: number;
  /** false: no IOMMU, nvme, edu and pci-testdev, except those of `qemuArgs`. */
  defaultDevices?: boolean;
  /** Added to QEMU's command line, after the default devices. */
  qemuArgs?: readonly string[];
  /** Added to the kernel's command line, after the default parameters. */
  append?: readonly string[];
  /** A kernel image to boot instead of the cached one. */
  kernel?: string;
  /** The newest cached kernel of this series ("6.12") instead of the newest of all. */
  series?: string;
  /** That kernel in another configuration. */
  variant?: KernelVariant;
  /** Debian 12's own kernel package; `modules`: whether the folder of its modules is there, as where it was installed. */
  debianKernel?: { readonly modules: boolean };
  /** A QEMU to use instead of the system's. */
  qemu?: string;
  /** The guest is killed if it runs longer than this, counted from power-on. */
  timeoutMs?: number;
  /** The guest is killed if its command prints nothing for this long. */
  stallMs?: number;
  /** A count that rises as long as the command does something that its output doesn't show: it isn't killed then. */
  activity?: () => number;
  /** Host folder the guest mounts writable at /mnt/share; default: a temporary one. */
  shareDir?: string;
  /** Kernel console from power-on, with all boot messages. Without it the console goes to a log. */
  console?: Sink;
  /** Patterns of QEMU trace events; what they print goes to `qemuLog`. */
  trace?: readonly string[];
  qemuLog?: string;
  /** Where the command's output goes; default: this process's stdout and stderr. */
  stdout?: Sink;
  stderr?: Sink;
  /** Kills the guest; `status` is then 143. */
  signal?: AbortSignal;
  /** Progress of a first run, which downloads and builds; default: none. */
  progress?: Progress;
}

/** Files of the host that a guest needs. */
export interface Prepared {
  kernel: string;
  /** `include/` (uAPI headers), iommufd_test.h and kernel.config of that kernel. */
  headers: string | undefined;
  qemu: string;
  busybox: string;
  /** A kernel that has modules, and a file of its configuration. */
  packaged?: PackagedKernel;
}

/**
 * Everything a run needs, fetched and built the first time. From a full cache
 * this only looks at files.
 */
export async function prepareGuest(
  options: Pick<
    GuestOptions,
    "kernel" | "series" | "variant" | "debianKernel" | "qemu" | "progress" | "signal"
  > & {
    update?: boolean;
  } = {},
): Promise<Prepared> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new GuestToolError(
      `the guest runs this host's programs, which need x86-64 Linux; this is ${process.platform} on ${process.arch}`,
    );
  }
  const progress = options.progress ?? silentProgress;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const log = join(cacheDirectory(), "logs", "install.log");
  await requireTools(options.qemu === undefined ? [BUSYBOX, QEMU] : [BUSYBOX], { log, progress, ...signal });
  const qemu = options.qemu ?? "qemu-system-x86_64";
  const qemuProgram = findProgram(qemu);
  if (qemuProgram === undefined) throw new GuestToolError(`there is no program ${qemu}; check --qemu`);
  const busybox = findStaticBusybox();
  if (busybox === undefined)
    throw new GuestToolError("there is no statically linked busybox; install busybox-static");
  if (options.kernel !== undefined) {
    const kernel = resolve(options.kernel);
    if (!existsSync(kernel))
      throw new GuestToolError(`there is no kernel image ${options.kernel}; check --kernel`);
    return { kernel, headers: headersBeside(kernel), qemu: qemuProgram, busybox };
  }
  if (options.debianKernel !== undefined) {
    const packaged = await ensureDebianKernel({ progress, ...signal });
    return { kernel: packaged.image, headers: undefined, qemu: qemuProgram, busybox, packaged };
  }
  const built = await ensureKernel({
    progress,
    ...signal,
    ...(options.series === undefined ? {} : { series: options.series }),
    ...(options.variant === undefined ? {} : { variant: options.variant }),
    ...(options.update === undefined ? {} : { update: options.update }),
  });
  return { kernel: built.image, headers: built.headers, qemu: qemuProgram, busybox };
}

/** Boots a guest, runs the command in it and powers it off. @throws GuestToolError if it can't boot, as a rejection */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const [name, ...args] = options.command;
  if (name === undefined) throw new GuestToolError("there is no command to run in the guest; pass one");
  const cwd = await realpath(options.cwd ?? process.cwd());
  const prepared = await prepareGuest(options);
  // The guest sees the same files, so a program that is missing here is missing there.
  const program = findProgram(name.includes("/") ? resolve(cwd, name) : name, options.env?.["PATH"]);
  if (program === undefined) {
    return { status: STATUS_NOT_FOUND, problem: `command not found: ${name}`, totalMs: 0 };
  }
  const needed = [
    cwd,
    packageRoot(),
    process.execPath,
    program,
    ...(prepared.headers ? [prepared.headers] : []),
  ];
  const hidden = findHidden(needed);
  if (hidden !== undefined) {
    throw new GuestToolError(
      `the guest can't see ${hidden}, because it has its own folder there; move it elsewhere`,
    );
  }
  options.signal?.throwIfAborted();

  const run = await mkdtemp(join(tmpdir(), "iova-guest-"));
  const removeRun = (): void => rmSync(run, { recursive: true, force: true });
  process.once("exit", removeRun);
  try {
    // Programs don't print this by accident.
    const endMark = `\u0001iova-end-${randomBytes(12).toString("hex")}\u0001`;
    const environment = guestEnvironment(process.env, {
      ...(prepared.headers === undefined ? {} : { IOVA_KERNEL_HEADERS: prepared.headers }),
      ...options.env,
    });
    const initrd = join(run, "initrd");
    const { packaged } = prepared;
    const early = packaged === undefined ? [] : await earlyModules(packaged);
    await writeInitrd(initrd, prepared.busybox, early, commandScript(cwd, environment, program, args), {
      root_tag: ROOT_TAG,
      share_tag: SHARE_TAG,
      port_prefix: PORT_NAME_PREFIX,
      end_mark: endMark,
      // The command's arguments may name a script in /tmp.
      fresh_folders: freshFolders([
        ...needed,
        ...args.filter((arg) => isAbsolute(arg) && existsSync(arg)),
      ]).join(" "),
      early_modules: early.map((path) => basename(path)).join(" "),
      kernel_config: packaged?.config ?? "",
      modules: options.debianKernel?.modules === true ? (packaged?.modules ?? "") : "",
    });
    const shareDir = options.shareDir === undefined ? join(run, "share") : resolve(options.shareDir);
    await mkdir(shareDir, { recursive: true });
    let nvmeImage: string | undefined;
    if (options.defaultDevices ?? true) {
      nvmeImage = join(run, "nvme.img");
      await writeFile(nvmeImage, "");
      await truncate(nvmeImage, NVME_SIZE_BYTES);
    }
    const machine: Machine = {
      kernel: prepared.kernel,
      initrd,
      append: [
        // With the console on, the boot is shown, too.
        ...DEFAULT_APPEND.filter((word) => word !== "quiet" || options.console === undefined),
        ...(options.append ?? []),
      ],
      memory: options.memory ?? "3G",
      cpus: options.cpus ?? 2,
      kvm: isKvmUsable(),
      shareDir,
      ports: { control: join(run, "control"), stdout: join(run, "stdout"), stderr: join(run, "stderr") },
      nvmeImage,
      qemuArgs: options.qemuArgs ?? [],
      trace: options.trace ?? [],
      qemuLog: options.qemuLog === undefined ? undefined : resolve(options.qemuLog),
    };
    const boot = async (): Promise<GuestResult> => {
      const ports = await listenOnPorts(machine.ports);
      return await new RunningGuest(prepared.qemu, machine, ports, {
        ...options,
        logFile: join(run, "log"),
        endMark,
      }).result();
    };
    const first = await boot();
    if (first.stuck !== "boot") return first;
    (options.progress ?? silentProgress).note(`${first.problem ?? "the guest did not boot"}; once more`);
    return await boot();
  } finally {
    process.removeListener("exit", removeRun);
    removeRun();
  }
}

/** busybox, guest/init, the modules that it loads, and what it reads: the parameters (shell variables) and the command. */
async function writeInitrd(
  file: string,
  busybox: string,
  modules: readonly string[],
  command: string,
  parameters: Readonly<Record<string, string>>,
): Promise<void> {
  const variables = Object.entries(parameters).map(([name, value]) => `${name}=${quote(value)}\n`);
  const loaded = modules.map(
    async (path): Promise<ArchiveEntry> => ({
      path: `modules/${basename(path)}`,
      mode: 0o644,
      content: await readFile(path),
    }),
  );
  const archive = writeArchive([
    { path: "bin", mode: 0o755 },
    { path: "bin/busybox", mode: 0o755, content: await readFile(busybox) },
    { path: "modules", mode: 0o755 },
    ...(await Promise.all(loaded)),
    { path: "init", mode: 0o755, content: await readFile(join(packageRoot(), "guest", "init")) },
    { path: "parameters", mode: 0o644, content: Buffer.from(variables.join("")) },
    { path: "command", mode: 0o644, content: Buffer.from(command) },
  ]);
  await writeFile(file, archive);
}
