/**
 * `npm test`: lint, types, the unit suite, and the guest suite on every test machine. Ends with one line of totals.
 * With names of guest machines as arguments only those run, and with paths of test files after them only those files.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { cacheDirectory } from "../guest/cache.js";
import { GuestToolError } from "../guest/errors.js";
import { ensureForeignQemu } from "../guest/foreign-qemu.js";
import { requireTools } from "../guest/host-tools.js";
import { StderrProgress } from "../guest/progress.js";
import { type GuestOptions, prepareGuest, runGuest } from "../guest/run.js";
import { EmulatorProcesses } from "./emulator-processes.js";
import { type TestMachine, testMachines } from "./machines.js";
import { unprovokedEvents } from "./qemu-events.js";

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
const problems: string[] = [];

function say(line: string): void {
  process.stdout.write(`\n== ${line}\n`);
}

/** Runs a program of node_modules/.bin with our output. */
function run(name: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): boolean {
  const { status } = spawnSync(process.execPath, [program, ...args], {
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (status !== 0) problems.push(`${name} failed`);
  return status === 0;
}

/** The parts of vitest's JSON report used here. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly status: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

function isReport(value: unknown): value is Report {
  return typeof value === "object" && value !== null && "numPassedTests" in value && "testResults" in value;
}

/** What failed, each with the head of its message: the end of a long log is all that many people see of it. */
function failures({ testResults }: Report): string[] {
  const head = (message = ""): string => message.split("\n").slice(0, 6).join("\n    ");
  return testResults.flatMap(({ name, message, status, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === "failed");
    const file = relative(process.cwd(), name);
    if (status === "failed" && failed.length === 0) return [`${file}: ${head(message)}`];
    return failed.map((test) => `${file}: ${test.fullName}\n    ${head(test.failureMessages?.[0])}`);
  });
}

/** Adds a vitest run's report to the totals. A run without one is a failure. */
function count(name: string, file: string): void {
  try {
    const report: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (!isReport(report)) throw new Error("not a vitest report");
    totals.passed += report.numPassedTests;
    totals.failed += report.numFailedTests;
    totals.skipped += report.numPendingTests + report.numTodoTests;
    problems.push(...failures(report));
    if (report.numPassedTests === 0) problems.push(`${name} ran no test`);
  } catch (error) {
    problems.push(`${name} left no report: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Longer than any one test file takes, even on a busy machine. */
const STALL_MS = 8 * 60_000;

const vitest = "node_modules/vitest/vitest.mjs";

function reporters(file: string): string[] {
  return ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
}

async function runMachine(machine: TestMachine, files: readonly string[]): Promise<void> {
  say(`guest suite on machine "${machine.name}": ${machine.purpose}`);
  const shareDir = mkdtempSync(join(tmpdir(), "iova-test-"));
  let emulators: EmulatorProcesses | undefined;
  try {
    const progress = new StderrProgress();
    await requireTools(machine.tools ?? [], { log: join(cacheDirectory(), "logs", "install.log"), progress });
    const qemu = machine.foreignQemu === true ? await ensureForeignQemu({ progress }) : undefined;
    emulators = await EmulatorProcesses.start(shareDir, machine.emulators ?? []);
    const qemuLog = join(shareDir, "qemu.log");
    const report = "/mnt/share/report.json";
    const options: GuestOptions = {
      command: [
        process.execPath,
        vitest,
        "run",
        "--project",
        "guest",
        ...(files.length > 0 ? files : [`test/guest/${machine.name}/`, ...(machine.alsoRuns ?? [])]),
        ...reporters(report),
      ],
      shareDir,
      qemuLog,
      trace: ["pci_nvme_err*", "pci_nvme_ub*", "vtd_*fault*"],
      defaultDevices: machine.defaultDevices,
      qemuArgs: machine.qemuArgs(shareDir),
      append: machine.append,
      ...(qemu === undefined ? {} : { qemu }),
      ...(machine.memory === undefined ? {} : { memory: machine.memory }),
      ...(machine.series === undefined ? {} : { series: machine.series }),
      ...(machine.variant === undefined ? {} : { variant: machine.variant }),
      timeoutMs: 45 * 60_000,
      stallMs: STALL_MS,
      progress,
    };
    let result = await runGuest(options);
    if (result.stuck === "silent" || result.stuck === "crashed" || result.crash !== undefined) {
      // Seen once each: an emulator that stood still, one that crashed, and a crash of vitest's own process under
      // emulation. That one loads nothing of the library: tests run in a child of it, whose crash is a failure (1).
      // What tests bring about happens again.
      say(`${result.problem ?? "no output"}\n== once more: "${machine.name}"`);
      for (const file of ["report.json", "provoked"]) rmSync(join(shareDir, file), { force: true });
      result = await runGuest({ ...options, qemuArgs: machine.qemuArgs(shareDir) });
    }
    if (result.status !== 0) {
      problems.push(
        `guest suite on "${machine.name}" ended with status ${result.status} ${result.problem ?? ""}`.trim(),
      );
    }
    count(`guest suite on "${machine.name}"`, join(shareDir, "report.json"));
    for (const event of unprovokedEvents(qemuLog, join(shareDir, "provoked"))) {
      problems.push(`"${machine.name}": QEMU saw ${event}, which no test provoked`);
    }
  } catch (error) {
    if (!(error instanceof GuestToolError)) throw error;
    problems.push(`guest suite on "${machine.name}" could not run: ${error.message}`);
  } finally {
    for (const failure of (await emulators?.stop()) ?? []) problems.push(`"${machine.name}": ${failure}`);
    rmSync(shareDir, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const files = words.filter((word) => word.endsWith(".test.ts"));
  const wanted = words.filter((word) => !files.includes(word));
  const unknown = wanted.filter((name) => !testMachines.some((machine) => machine.name === name));
  if (unknown.length > 0 || (files.length > 0 && wanted.length === 0)) {
    const names = testMachines.map(({ name }) => name).join(", ");
    process.stderr.write(`usage: npm test -- [MACHINE ...] [FILE ...], where MACHINE is one of: ${names}\n`);
    process.exitCode = 2;
    return;
  }
  const machines = testMachines.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  if (wanted.length === 0) {
    say("lint, formatting and import order");
    run("lint", "node_modules/@biomejs/biome/bin/biome", ["check", "--error-on-warnings", "."]);
    say("types");
    run("typecheck", "node_modules/typescript/bin/tsc", ["-p", "tsconfig.json"]);
  }
  say("guest kernel and QEMU (fetched and built once, then cached)");
  const prepared = await prepareGuest({ progress: new StderrProgress() });
  if (wanted.length === 0) {
    say("unit suite");
    const folder = mkdtempSync(join(tmpdir(), "iova-test-"));
    const report = join(folder, "report.json");
    run("unit suite", vitest, ["run", "--project", "unit", ...reporters(report)], {
      IOVA_KERNEL_HEADERS: prepared.headers ?? "",
    });
    count("unit suite", report);
    rmSync(folder, { recursive: true, force: true });
  }
  for (const machine of machines) await runMachine(machine, files);

  if (process.env["CI"] !== undefined && totals.skipped > 0) problems.push("in CI nothing may be skipped");
  for (const problem of problems) process.stdout.write(`problem: ${problem}\n`);
  process.stdout.write(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
  process.exitCode = problems.length === 0 && totals.failed === 0 ? 0 : 1;
}

await main();
