import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createWriteStream, rmSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, realpath, truncate, writeFile } from "node:fs/promises";
import { type Server, type Socket, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { cacheDirectory } from "./cache.js";
import { commandScript, findHidden, freshFolders, guestEnvironment, quote } from "./command.js";
import { GuestToolError } from "./errors.js";
import { BUSYBOX, QEMU, findStaticBusybox, isKvmUsable, requireTools } from "./host-tools.js";
import { writeArchive } from "./initramfs.js";
import { ensureKernel, headersBeside } from "./kernel.js";
import { type Sink, relay } from "./output.js";
import { findProgram, packageRoot } from "./paths.js";
import { type Progress, silentProgress } from "./progress.js";
import {
  DEFAULT_APPEND,
  type Machine,
  PORT_NAME_PREFIX,
  type Port,
  ROOT_TAG,
  SHARE_TAG,
  qemuArguments,
} from "./qemu.js";

/** The guest ended without telling how its command ended (as with docker: the runner failed, not the command). */
export const STATUS_DIED = 125;
export const STATUS_TIMEOUT = 124;
const STATUS_NOT_FOUND = 127;
const STATUS_BROKEN_PIPE = 128 + 13;
const STATUS_ABORTED = 128 + 15;

const NVME_SIZE_BYTES = 64 * 1024 * 1024;
/** After the command has ended: time for the rest of its output and for powering off. */
const POWER_OFF_MS = 15_000;
const LOG_TAIL_LINES = 25;

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
  /** false: no IOMMU, nvme, edu and pci-testdev but what `qemuArgs` bring. */
  defaultDevices?: boolean;
  /** Added to QEMU's command line, after the default devices. */
  qemuArgs?: readonly string[];
  /** Added to the kernel's command line, after the default parameters. */
  append?: readonly string[];
  /** A kernel image to boot instead of the cached one. */
  kernel?: string;
  /** The newest cached kernel of this series ("6.12") instead of the newest of all. */
  series?: string;
  /** A QEMU to use instead of the system's. */
  qemu?: string;
  /** Kills the guest that runs longer than this, counted from power-on. */
  timeoutMs?: number;
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
  /** What a first run has to say while it fetches and builds; default: nothing. */
  progress?: Progress;
}

export interface GuestResult {
  /** The command's exit status, 128+n if signal n ended it; 124 timeout, 125 guest died, 143 aborted. */
  status: number;
  /** Why `status` is not the command's own, ready to be shown. */
  problem?: string;
  /** Kernel and QEMU messages; kept only when there is a problem. */
  logFile?: string;
  /** From starting QEMU to starting the command. */
  bootMs?: number;
  /** From starting QEMU to its end. */
  totalMs: number;
}

/** What a guest needs from the host, found or made. */
export interface Prepared {
  kernel: string;
  /** `include/` (uAPI headers), iommufd_test.h and kernel.config of that kernel. */
  headers: string | undefined;
  qemu: string;
  busybox: string;
}

/**
 * Everything a run needs, fetched and built the first time. From a full cache
 * this only looks at files.
 */
export async function prepareGuest(
  options: Pick<GuestOptions, "kernel" | "series" | "qemu" | "progress" | "signal"> & {
    update?: boolean;
  } = {},
): Promise<Prepared> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new GuestToolError("the guest runs this host's programs, so the host has to be x86-64 Linux");
  }
  const progress = options.progress ?? silentProgress;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const log = join(cacheDirectory(), "logs", "install.log");
  await requireTools(options.qemu === undefined ? [BUSYBOX, QEMU] : [BUSYBOX], { log, progress, ...signal });
  const qemu = options.qemu === undefined ? "qemu-system-x86_64" : options.qemu;
  const qemuProgram = findProgram(qemu);
  if (qemuProgram === undefined) throw new GuestToolError(`no such program: ${qemu}`);
  const busybox = findStaticBusybox();
  if (busybox === undefined) throw new GuestToolError("no statically linked busybox");
  if (options.kernel !== undefined) {
    const kernel = resolve(options.kernel);
    return { kernel, headers: headersBeside(kernel), qemu: qemuProgram, busybox };
  }
  const built = await ensureKernel({
    progress,
    ...signal,
    ...(options.series === undefined ? {} : { series: options.series }),
    ...(options.update === undefined ? {} : { update: options.update }),
  });
  return { kernel: built.image, headers: built.headers, qemu: qemuProgram, busybox };
}

/** Boots a guest, runs the command in it and powers it off. Rejects only for what kept it from booting. */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const [name, ...args] = options.command;
  if (name === undefined) throw new GuestToolError("no command to run in the guest");
  const cwd = await realpath(options.cwd ?? process.cwd());
  const prepared = await prepareGuest(options);
  // The guest sees the same files, so what cannot be found here needs no boot.
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
    throw new GuestToolError(`the guest has a folder of its own in that place and cannot see ${hidden}`);
  }
  options.signal?.throwIfAborted();

  const run = await mkdtemp(join(tmpdir(), "iova-guest-"));
  const removeRun = (): void => rmSync(run, { recursive: true, force: true });
  process.once("exit", removeRun);
  try {
    const endMark = `\0iova-end-${randomBytes(12).toString("hex")}\0`.replaceAll("\0", "\u0001");
    const environment = guestEnvironment(process.env, {
      ...(prepared.headers === undefined ? {} : { IOVA_KERNEL_HEADERS: prepared.headers }),
      ...options.env,
    });
    const initrd = join(run, "initrd");
    await writeFile(
      initrd,
      writeArchive([
        { path: "bin", mode: 0o755 },
        { path: "bin/busybox", mode: 0o755, content: await readFile(prepared.busybox) },
        { path: "init", mode: 0o755, content: await readFile(join(packageRoot(), "guest", "init")) },
        {
          path: "parameters",
          mode: 0o644,
          content: shellVariables({
            root_tag: ROOT_TAG,
            share_tag: SHARE_TAG,
            port_prefix: PORT_NAME_PREFIX,
            end_mark: endMark,
            fresh_folders: freshFolders(needed).join(" "),
          }),
        },
        {
          path: "command",
          mode: 0o644,
          content: Buffer.from(commandScript(cwd, environment, program, args)),
        },
      ]),
    );
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
        // Somebody who watches the console wants to see the boot, too.
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
    return await boot(prepared.qemu, machine, join(run, "log"), endMark, options);
  } finally {
    process.removeListener("exit", removeRun);
    removeRun();
  }
}

async function boot(
  qemu: string,
  machine: Machine,
  logFile: string,
  endMark: string,
  options: GuestOptions,
): Promise<GuestResult> {
  const ports = await listenOnPorts(machine.ports);
  const log = createWriteStream(logFile);
  const started = performance.now();
  const child = spawn(qemu, qemuArguments(machine), {
    stdio: ["ignore", "pipe", "pipe"],
    // Not in the terminal's foreground group: Ctrl-C is ours to handle, in order.
    detached: true,
  });
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);

  /** The first thing that ended the run other than the command itself. */
  let verdict: { status: number; problem: string } | undefined;
  const giveUp = (status: number, problem: string): void => {
    verdict ??= { status, problem };
    kill();
  };
  const onAbort = (): void => giveUp(STATUS_ABORTED, "the guest was interrupted");
  options.signal?.addEventListener("abort", onAbort);
  const timers: NodeJS.Timeout[] = [];
  if (options.timeoutMs !== undefined) {
    const text = `the guest was killed: it ran longer than ${options.timeoutMs / 1000} s`;
    timers.push(setTimeout(() => giveUp(STATUS_TIMEOUT, text), options.timeoutMs));
  }

  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      log.write(chunk);
      if (typeof options.console === "function") void options.console(chunk);
      else options.console?.write(chunk);
    });
  }
  let status: number | undefined;
  let bootMs: number | undefined;
  const control = ports.control.then((socket) => {
    socket?.on("error", () => {}); // reset when QEMU goes
    if (socket === undefined) return;
    createInterface({ input: socket }).on("line", (line) => {
      if (line === "started") bootMs = performance.now() - started;
      const code = /^exit (\d+)$/.exec(line)?.[1];
      if (code === undefined) return;
      status = Number(code);
      timers.push(
        setTimeout(() => giveUp(Number(code), "the guest did not power off by itself"), POWER_OFF_MS),
      );
    });
  });
  const pass = async (port: "stdout" | "stderr", sink: Sink): Promise<boolean> => {
    const socket = await ports[port];
    if (socket === undefined) return false;
    try {
      return await relay(socket, endMark, sink);
    } catch (error) {
      // Nobody reads any more (`| head`), or QEMU went.
      if (child.exitCode === null)
        giveUp(STATUS_BROKEN_PIPE, `writing the guest's ${port}: ${String(error)}`);
      return false;
    }
  };
  const outputs = Promise.all([
    pass("stdout", options.stdout ?? process.stdout),
    pass("stderr", options.stderr ?? process.stderr),
  ]);

  const end = await new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(signal ?? `status ${code}`));
  });
  const totalMs = performance.now() - started;
  for (const timer of timers) clearTimeout(timer);
  options.signal?.removeEventListener("abort", onAbort);
  process.removeListener("exit", kill);
  // Port servers that QEMU never reached are still waiting: let them go.
  ports.close();
  const complete = await outputs;
  await control;
  await new Promise<void>((resolve) => log.end(resolve));

  const boot = bootMs === undefined ? {} : { bootMs };
  if (verdict === undefined && status !== undefined && complete.every(Boolean)) {
    return { status, totalMs, ...boot };
  }
  const { status: finalStatus, problem } = verdict ?? {
    status: status ?? STATUS_DIED,
    problem:
      status === undefined
        ? `the guest ended (QEMU: ${end}) without saying how its command did`
        : "the guest ended before all of its command's output was here",
  };
  const kept = `${machine.initrd.slice(0, -"/initrd".length)}.log`;
  await copyFile(logFile, kept);
  const lines = (await readFile(kept, "utf8")).replaceAll("\r", "").trimEnd().split("\n");
  // An interrupted guest has nothing to explain.
  const tail =
    finalStatus === STATUS_ABORTED ? [] : lines.slice(-LOG_TAIL_LINES).filter((line) => line !== "");
  return {
    status: finalStatus,
    problem: [`${problem}; its console: ${kept}`, ...tail.map((line) => `  ${line}`)].join("\n"),
    logFile: kept,
    totalMs,
    ...boot,
  };
}

type Connections = { [port in Port]: Promise<Socket | undefined> } & { close(): void };

/** Waits for QEMU at one socket for each port. A port that QEMU never reaches yields undefined. */
async function listenOnPorts(paths: Readonly<Record<Port, string>>): Promise<Connections> {
  const servers: Server[] = [];
  const listen = async (path: string): Promise<{ connection: Promise<Socket | undefined> }> => {
    const server = createServer({ pauseOnConnect: false });
    servers.push(server);
    const connection = new Promise<Socket | undefined>((resolve) => {
      server.once("connection", (socket) => {
        server.close();
        resolve(socket);
      });
      server.once("close", () => resolve(undefined));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return { connection };
  };
  const [control, stdout, stderr] = await Promise.all([
    listen(paths.control),
    listen(paths.stdout),
    listen(paths.stderr),
  ]);
  return {
    control: control.connection,
    stdout: stdout.connection,
    stderr: stderr.connection,
    close: () => {
      for (const server of servers) server.close();
    },
  };
}

function shellVariables(values: Readonly<Record<string, string>>): Buffer {
  const lines = Object.entries(values).map(([name, value]) => `${name}=${quote(value)}\n`);
  return Buffer.from(lines.join(""));
}
