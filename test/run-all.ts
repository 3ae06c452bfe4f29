/**
 * `npm test`: lint, types, the unit suite, the tests of the packed package, and the guest suite on every test machine. Ends with one line of totals.
 * With names of guest machines as arguments only those run, and with paths of test files after them only those files.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { cacheDirectory } from "../guest/cache.js";
import { GuestToolError } from "../guest/errors.js";
import { requireTools, TEST_TOOLS } from "../guest/host-tools.js";
import { StderrProgress } from "../guest/progress.js";
import { prepareGuest } from "../guest/run.js";
import { abortOnSignals } from "../guest/signals.js";
import { type TestMachine, testMachines } from "./machines.js";
import { prepareMachine, runMachine } from "./run-machine.js";
import { Verdict } from "./verdict.js";
import { reporters, VITEST } from "./vitest.js";

const verdict = new Verdict();
/** Ends what goes on here, with all that it started. */
const { signal, received } = abortOnSignals();

function say(line: string): void {
  process.stdout.write(`\n== ${line}\n`);
}

/** Runs a program of node_modules with our output. */
async function run(
  name: string,
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: "inherit",
    env: { ...process.env, ...env },
    signal,
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", (error) => (signal.aborted ? resolve(null) : reject(error)));
    child.once("close", resolve);
  });
  signal.throwIfAborted();
  if (status !== 0) verdict.problem(`${name} failed`);
}

/** Runs a project of vitest, and counts its tests. */
async function runSuite(project: string, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "iova-test-"));
  try {
    const report = join(folder, "report.json");
    await run(`${project} suite`, VITEST, ["run", "--project", project, ...reporters(report)], env);
    verdict.count(`${project} suite`, report);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Two at a time where there are two processors: a guest seldom uses more than one and a half of them. What one prints is
 * held back until it has ended, so that it can be read.
 */
async function runMachines(machines: readonly TestMachine[], files: readonly string[]): Promise<void> {
  const progress = new StderrProgress();
  const waiting = [...machines];
  const lanes = Math.min(waiting.length, availableParallelism() > 1 ? 2 : 1);
  const lane = async (): Promise<void> => {
    for (let machine = waiting.shift(); machine !== undefined && !signal.aborted; machine = waiting.shift()) {
      const title = `guest suite on machine "${machine.name}"`;
      say(`${title}: ${machine.purpose}`);
      if (lanes === 1) {
        await runMachine(
          machine,
          files,
          { write: (chunk) => void process.stdout.write(chunk), progress, signal },
          verdict,
        );
        continue;
      }
      const held: Buffer[] = [];
      const write = (chunk: Buffer | string): void => void held.push(Buffer.from(chunk));
      const started = performance.now();
      await runMachine(machine, files, { write, progress, signal }, verdict);
      say(`${title}, ended after ${Math.round((performance.now() - started) / 1000)} s`);
      process.stdout.write(Buffer.concat(held));
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
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
    await run("lint", "node_modules/@biomejs/biome/bin/biome", ["check", "--error-on-warnings", "."]);
    say("nothing unused");
    await run("unused code", "node_modules/knip/bin/knip.js", ["--no-progress"]);
    say("types");
    await run("typecheck", "node_modules/typescript/bin/tsc", ["-p", "tsconfig.json"]);
  }
  say("guest kernels and QEMU (fetched and built once, then cached)");
  const progress = new StderrProgress();
  const prepared = await prepareGuest({ progress, signal });
  for (const machine of machines) {
    // Now, not while another machine's tests run. What can't be had is told of when its turn comes.
    await prepareMachine(machine, { progress, signal }).catch((error: unknown) => {
      if (!(error instanceof GuestToolError)) throw error;
    });
  }
  if (wanted.length === 0) {
    say("unit suite");
    // Without these programs some tests are skipped, and say so.
    await requireTools(TEST_TOOLS, {
      log: join(cacheDirectory(), "logs", "install.log"),
      progress,
      signal,
    }).catch((error: unknown) => {
      if (!(error instanceof GuestToolError)) throw error;
      progress.note(error.message);
    });
    await runSuite("unit", { IOVA_KERNEL_HEADERS: prepared.headers ?? "" });
    say("package suite: the tarball, as users get it");
    await runSuite("package");
  }
  await runMachines(machines, files);
  signal.throwIfAborted();
  const isGood = verdict.conclude({ maySkip: process.env["CI"] === undefined });
  process.exitCode = isGood ? 0 : 1;
}

try {
  await main();
} catch (error) {
  const status = received();
  if (status === undefined) throw error;
  process.stderr.write("npm test: ended by a signal\n");
  process.exitCode = status;
}
