/**
 * The guest suite on one test machine: vitest runs here, where starting it and compiling the tests is quick, and its
 * worker in the guest.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheDirectory } from "../guest/cache.js";
import { GuestToolError } from "../guest/errors.js";
import { ensureForeignQemu } from "../guest/foreign-qemu.js";
import { requireTools } from "../guest/host-tools.js";
import type { Progress } from "../guest/progress.js";
import { type GuestOptions, prepareGuest, runGuest } from "../guest/run.js";
import { EmulatorProcesses } from "./emulator-processes.js";
import {
  portArguments,
  READY,
  SOCKET_VARIABLE,
  WORKER_ENVIRONMENT,
  workerCommand,
} from "./guest-pool/channel.js";
import type { TestMachine } from "./machines.js";
import { unprovokedEvents } from "./qemu-events.js";
import type { Verdict } from "./verdict.js";
import { reporters, VITEST } from "./vitest.js";

/** Longer than any one test file takes, even on a busy machine. */
const STALL_MS = 15 * 60_000;
/** Ends what would never end: the longest machine takes half an hour, and six times as long beside other work. */
const LIMIT_MS = 4 * 60 * 60_000;
/** How long a guest may go on after its vitest, and the other way round: only what hangs takes so long. */
const GRACE_MS = 5 * 60_000;
const REPORT = "report.json";
/** The whole kernel command line that a test wants its machine to start with again, for its advice.test.ts. */
const NEXT_BOOT = "append";
/** What a user can set for tests in guests, and takes more time than the limit. */
const LENGTHS = ["IOVA_IGB_FRAMES"];

/** Fetches and builds what a machine needs; from a full cache this only looks at files. @throws GuestToolError */
export async function prepareMachine(
  machine: TestMachine,
  { progress, signal }: Pick<MachineOutput, "progress" | "signal">,
): Promise<{ qemu?: string }> {
  const { tools = [], series, variant, debianKernel } = machine;
  await requireTools(tools, { log: join(cacheDirectory(), "logs", "install.log"), progress, signal });
  await prepareGuest({
    progress,
    signal,
    ...(series === undefined ? {} : { series }),
    ...(variant === undefined ? {} : { variant }),
    ...(debianKernel === undefined ? {} : { debianKernel }),
  });
  return machine.foreignQemu === true ? { qemu: await ensureForeignQemu({ progress, signal }) } : {};
}

/** Where a machine's output goes, and what ends it. */
export interface MachineOutput {
  readonly write: (chunk: Buffer | string) => void;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** A guest but for what `boot` adds to it. */
type MachineGuest = Omit<GuestOptions, "command" | "stdout" | "stderr"> & { readonly shareDir: string };

/** Boots a guest and runs test files in it. @returns what went wrong besides tests that fail */
async function boot(
  guest: MachineGuest,
  files: readonly string[],
  { write, signal }: Pick<MachineOutput, "write" | "signal">,
): Promise<string[]> {
  const socket = join(guest.shareDir, "tests.sock");
  const end = new AbortController();
  const either = AbortSignal.any([end.signal, signal]);
  let printed = 0;
  let vitest: Promise<string> | undefined;
  const print = (chunk: Buffer): void => {
    printed++;
    write(chunk);
  };
  const result = await runGuest({
    ...guest,
    command: workerCommand(),
    qemuArgs: [...(guest.qemuArgs ?? []), ...portArguments(socket)],
    env: { ...WORKER_ENVIRONMENT, ...guest.env },
    stdout: (chunk) => {
      if (!chunk.includes(READY)) return write(chunk);
      vitest ??= runVitest([...files, ...reporters(join(guest.shareDir, REPORT))], socket, print, either);
      // It tells its worker to end, unless it has died.
      vitest.finally(() => setTimeout(() => end.abort(), GRACE_MS).unref());
    },
    stderr: write,
    signal: either,
    stallMs: STALL_MS,
    activity: () => printed,
  });
  // It sees that the guest has gone.
  setTimeout(() => end.abort(), GRACE_MS).unref();
  const ended = await vitest;
  return [
    ...(result.status === 0
      ? []
      : [`the guest ended with status ${result.status} ${result.problem ?? ""}`.trim()]),
    ...(ended === "status 0"
      ? []
      : [`vitest ${ended === undefined ? "did not start" : `ended with ${ended}`}`]),
  ];
}

/** @returns how it ended */
async function runVitest(
  args: readonly string[],
  socket: string,
  print: (chunk: Buffer) => void,
  signal: AbortSignal,
): Promise<string> {
  const child = spawn(process.execPath, [VITEST, "run", "--project", "guest", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, [SOCKET_VARIABLE]: socket },
    signal,
  });
  child.stdout.on("data", print);
  child.stderr.on("data", print);
  return await new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, killer) => resolve(killer ?? `status ${code}`));
  });
}

/** @param files only these, instead of all of the machine's */
export async function runMachine(
  machine: TestMachine,
  files: readonly string[],
  output: MachineOutput,
  verdict: Verdict,
): Promise<void> {
  const { name } = machine;
  const suite = `guest suite on "${name}"`;
  const shareDir = mkdtempSync(join(tmpdir(), "iova-test-"));
  let emulators: EmulatorProcesses | undefined;
  try {
    const prepared = await prepareMachine(machine, output);
    emulators = await EmulatorProcesses.start(shareDir, machine.emulators ?? []);
    const qemuLog = join(shareDir, "qemu.log");
    const wanted = files.length > 0 ? files : [`test/guest/${name}/`, ...(machine.alsoRuns ?? [])];
    const lengths = Object.fromEntries(
      LENGTHS.flatMap((each) => {
        const value = process.env[each];
        return value === undefined ? [] : [[each, value]];
      }),
    );
    const guest: MachineGuest = {
      shareDir,
      qemuLog,
      trace: ["pci_nvme_err*", "pci_nvme_ub*", "vtd_*fault*"],
      defaultDevices: machine.defaultDevices,
      qemuArgs: machine.qemuArgs(shareDir),
      append: machine.append,
      ...prepared,
      ...(machine.memory === undefined ? {} : { memory: machine.memory }),
      ...(machine.series === undefined ? {} : { series: machine.series }),
      ...(machine.variant === undefined ? {} : { variant: machine.variant }),
      ...(machine.debianKernel === undefined ? {} : { debianKernel: machine.debianKernel }),
      env: lengths,
      ...(Object.keys(lengths).length === 0 ? { timeoutMs: LIMIT_MS } : {}),
      progress: output.progress,
    };
    const run = async (how: MachineGuest, tests: readonly string[]): Promise<void> => {
      for (const problem of await boot(how, tests, output)) verdict.problem(`${suite}: ${problem}`);
      verdict.count(suite, join(shareDir, REPORT));
    };
    await run(guest, wanted);
    const next = join(shareDir, NEXT_BOOT);
    if (existsSync(next)) {
      const append = readFileSync(next, "utf8").split(" ");
      rmSync(join(shareDir, REPORT), { force: true });
      await run({ ...guest, append, env: { ...lengths, IOVA_SECOND_BOOT: "1" } }, [
        `test/guest/${name}/advice.test.ts`,
      ]);
    }
    for (const event of unprovokedEvents(qemuLog, join(shareDir, "provoked"))) {
      verdict.problem(`"${name}": QEMU saw ${event}, which no test provoked`);
    }
  } catch (error) {
    if (!(error instanceof GuestToolError)) throw error;
    verdict.problem(`${suite} could not run: ${error.message}`);
  } finally {
    for (const failure of (await emulators?.stop()) ?? []) verdict.problem(`"${name}": ${failure}`);
    rmSync(shareDir, { recursive: true, force: true });
  }
}
