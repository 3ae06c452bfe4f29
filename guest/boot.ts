/** Boots QEMU with a prepared machine, relays the command's output, and returns its status. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createWriteStream, readdirSync, readFileSync, type WriteStream } from "node:fs";
import { copyFile, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { BrokenSinkError, deliver, relay, type Sink } from "./output.js";
import type { Connections } from "./ports.js";
import { type Machine, qemuArguments } from "./qemu.js";

export const STATUS_TIMEOUT = 124;
/** The guest ended without its command's status (as with docker: the runner failed, not the command). */
export const STATUS_DIED = 125;
export const STATUS_BROKEN_PIPE = 128 + 13;
const STATUS_ABORTED = 128 + 15;

/** Longest time between the command's end and the guest's. */
const POWER_OFF_MS = 15_000;
/**
 * How long a guest may take to start its command. It takes five seconds on an idle host; on a
 * busy one, an emulated machine sometimes hangs before its first message.
 */
const BOOT_LIMIT_MS = 180_000;
const LOG_TAIL_LINES = 25;
/** Signals of crashes, by number (x86-64). */
const CRASHES = new Map([
  [4, "SIGILL"],
  [5, "SIGTRAP"],
  [6, "SIGABRT"],
  [7, "SIGBUS"],
  [8, "SIGFPE"],
  [11, "SIGSEGV"],
]);

export interface GuestResult {
  /** The command's: 128+n if signal n ended it. 124 timeout, 125 guest died, 141 nobody reads its output, 143 aborted. */
  status: number;
  /** Why `status` isn't the command's own, as a message for the user. */
  problem?: string;
  /** Kernel and QEMU messages; kept only when there is something to explain. */
  logFile?: string;
  /** From starting QEMU to starting the command. */
  bootMs?: number;
  /** From starting QEMU to its end. */
  totalMs: number;
  /** The signal by which the command crashed, by name. */
  crash?: string;
  /** The guest didn't boot, printed nothing for too long, or QEMU crashed: another try may help. */
  stuck?: "boot" | "silent" | "crashed";
}

export interface BootOptions {
  logFile: string;
  endMark: string;
  timeoutMs?: number;
  stallMs?: number;
  activity?: () => number;
  console?: Sink;
  stdout?: Sink;
  stderr?: Sink;
  signal?: AbortSignal;
}

/** One QEMU, from its start to its end. */
export class RunningGuest {
  readonly #options: BootOptions;
  readonly #ports: Connections;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #log: WriteStream;
  readonly #started = performance.now();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #kill = (): void => void this.#child.kill("SIGKILL");
  readonly #onAbort = (): void => this.#giveUp(STATUS_ABORTED, "the guest was interrupted");
  #status: number | undefined;
  #bootMs: number | undefined;
  #stuck: "boot" | "silent" | "crashed" | undefined;
  /** The first thing other than the command that ended the run. */
  #verdict: { status: number; problem: string } | undefined;
  /** Output that is being delivered, and a count of it: see #watchPowerOff. */
  #pending = 0;
  #delivered = 0;

  constructor(qemu: string, machine: Machine, ports: Connections, options: BootOptions) {
    this.#options = options;
    this.#ports = ports;
    this.#log = createWriteStream(options.logFile);
    this.#child = spawn(qemu, qemuArguments(machine), {
      stdio: ["ignore", "pipe", "pipe"],
      // Not in the terminal's foreground group: this process handles Ctrl-C.
      detached: true,
    });
    process.once("exit", this.#kill);
    options.signal?.addEventListener("abort", this.#onAbort);
    if (options.signal?.aborted) this.#onAbort();
    const limit = options.timeoutMs;
    if (limit !== undefined) {
      const text = `the guest was killed: it ran longer than ${limit / 1000} s`;
      this.#timers.push(setTimeout(() => this.#giveUp(STATUS_TIMEOUT, text), limit));
    }
    const bootWatch = setTimeout(() => {
      if (this.#bootMs !== undefined) return;
      this.#stuck = "boot";
      this.#giveUp(STATUS_DIED, `the guest was killed: it had not booted after ${BOOT_LIMIT_MS / 1000} s`);
    }, BOOT_LIMIT_MS);
    this.#timers.push(bootWatch);
    if (options.stallMs !== undefined) this.#watchSilence(options.stallMs);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        this.#log.write(chunk);
        // The log has the console's output even if its reader is gone.
        if (options.console !== undefined) deliver(options.console, chunk).catch(() => {});
      });
    }
  }

  async result(): Promise<GuestResult> {
    const { stdout = process.stdout, stderr = process.stderr } = this.#options;
    const control = this.#listen();
    const outputs = Promise.all([this.#pass("stdout", stdout), this.#pass("stderr", stderr)]);
    const end = await new Promise<string>((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("close", (code, signal) => resolve(signal ?? `status ${code}`));
    });
    // Only this process sends it signals.
    if (this.#verdict === undefined && this.#status === undefined && end.startsWith("SIG")) {
      this.#stuck = "crashed";
    }
    const times = {
      totalMs: performance.now() - this.#started,
      ...(this.#bootMs === undefined ? {} : { bootMs: this.#bootMs }),
      ...(this.#stuck === undefined ? {} : { stuck: this.#stuck }),
    };
    this.#ports.close();
    const isComplete = (await outputs).every(Boolean);
    await control;
    this.#cleanUp();
    await new Promise<void>((resolve) => this.#log.end(resolve));

    if (this.#verdict === undefined && this.#status !== undefined && isComplete) {
      const crash = CRASHES.get(this.#status - 128);
      if (crash === undefined) return { status: this.#status, ...times };
      // The kernel's message on the console says where.
      const account = await this.#explain(`the command ended by ${crash}`);
      return { status: this.#status, crash, ...account, ...times };
    }
    const { status, problem } = this.#verdict ?? {
      status: this.#status ?? STATUS_DIED,
      problem:
        this.#status === undefined
          ? `the guest ended (QEMU: ${end}) without saying how its command did`
          : "the guest ended before all of its command's output was here",
    };
    // No report if the user stopped the guest or closed its output.
    if (status === STATUS_ABORTED || status === STATUS_BROKEN_PIPE) return { status, problem, ...times };
    return { status, ...(await this.#explain(problem)), ...times };
  }

  /** Handles messages of the guest's init. */
  async #listen(): Promise<void> {
    const socket = await this.#ports.control;
    if (socket === undefined) return;
    socket.on("error", () => {}); // QEMU has ended, which its exit event handles
    createInterface({ input: socket }).on("line", (line) => {
      if (line === "started") this.#bootMs = performance.now() - this.#started;
      const code = /^exit (\d+)$/.exec(line)?.[1];
      if (code === undefined) return;
      this.#status = Number(code);
      this.#watchPowerOff(this.#status);
    });
  }

  /** Ends a guest that doesn't power off, unless it waits for a slow reader of its output. */
  #watchPowerOff(status: number): void {
    let seen = this.#delivered;
    const check = (): void => {
      if (this.#pending === 0 && this.#delivered === seen) {
        this.#giveUp(status, "the guest did not power off by itself");
      }
      seen = this.#delivered;
    };
    this.#timers.push(setInterval(check, POWER_OFF_MS));
  }

  /** Ends a guest whose command prints nothing for too long, and reports what QEMU's threads were doing. */
  #watchSilence(limitMs: number): void {
    const count = (): number => this.#delivered + (this.#options.activity?.() ?? 0);
    let seen = -1;
    const check = (): void => {
      if (this.#pending === 0 && count() === seen) {
        this.#stuck = "silent";
        const text = `the guest was killed: no output for ${limitMs / 1000} s`;
        this.#giveUp(STATUS_DIED, `${text}; QEMU's threads: ${threadsOf(this.#child.pid)}`);
      }
      // A slow boot doesn't count as silence.
      seen = this.#bootMs === undefined ? -1 : count();
    };
    this.#timers.push(setInterval(check, limitMs));
  }

  async #pass(port: "stdout" | "stderr", sink: Sink): Promise<boolean> {
    const socket = await this.#ports[port];
    if (socket === undefined) return false;
    const counted = async (chunk: Buffer): Promise<void> => {
      this.#pending++;
      try {
        await deliver(sink, chunk);
      } finally {
        this.#pending--;
        this.#delivered++;
      }
    };
    try {
      return await relay(socket, this.#options.endMark, counted);
    } catch (error) {
      if (!(error instanceof BrokenSinkError)) throw error;
      // As with a pipe: when the reader is gone (`| head`), the guest ends.
      this.#giveUp(STATUS_BROKEN_PIPE, `the guest's ${port} could not be passed on: ${error.message}`);
      return false;
    }
  }

  #giveUp(status: number, problem: string): void {
    this.#verdict ??= { status, problem };
    this.#kill();
  }

  #cleanUp(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    process.removeListener("exit", this.#kill);
  }

  /** Moves the log to its final place, and shows its end. */
  async #explain(problem: string): Promise<{ problem: string; logFile: string }> {
    const { logFile } = this.#options;
    const kept = `${dirname(logFile)}.log`;
    await copyFile(logFile, kept);
    const lines = (await readFile(kept, "utf8")).replaceAll("\r", "").split("\n").filter(Boolean);
    const panic = lines.some((line) => line.includes("Kernel panic")) ? "the guest's kernel panicked; " : "";
    const tail = lines.slice(-LOG_TAIL_LINES).map((line) => `  ${line}`);
    return { problem: [`${panic}${problem}; its console: ${kept}`, ...tail].join("\n"), logFile: kept };
  }
}

/** What each thread of a process is doing: its name, its state, and where in the kernel it waits. */
function threadsOf(pid: number | undefined): string {
  if (pid === undefined) return "none";
  const read = (path: string): string => {
    try {
      return readFileSync(path, "utf8").trim();
    } catch {
      return "?";
    }
  };
  try {
    const threads = readdirSync(`/proc/${pid}/task`).map((id) => {
      const folder = `/proc/${pid}/task/${id}`;
      const state = /^State:\s*(\S)/m.exec(read(`${folder}/status`))?.[1] ?? "?";
      return `${read(`${folder}/comm`)} ${state} ${read(`${folder}/wchan`)}`;
    });
    return threads.join(", ");
  } catch {
    return "gone";
  }
}
