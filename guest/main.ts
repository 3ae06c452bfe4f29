#!/usr/bin/env node
import { GuestToolError } from "./errors.js";
import { HELP, parseOptions, UsageError } from "./options.js";
import { StderrProgress } from "./progress.js";
import { prepareGuest, runGuest, STATUS_BROKEN_PIPE } from "./run.js";
import { abortOnSignals } from "./signals.js";

const STATUS_FAILED = 1;
const STATUS_USAGE = 2;

const progress = new StderrProgress();

async function main(): Promise<number> {
  const { mode, update, console: showConsole, ...options } = parseOptions(process.argv.slice(2));
  if (mode === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  // Ctrl-C and similar signals end the guest, and it is cleaned up; the exit status tells the signal.
  const { signal, received } = abortOnSignals();
  const common = { ...options, signal, progress };
  try {
    if (mode === "prepare" || update) {
      const prepared = await prepareGuest({ ...common, update });
      if (mode === "prepare") {
        process.stdout.write(`kernel: ${prepared.kernel}\n`);
        process.stdout.write(`headers: ${prepared.headers ?? "none beside this kernel"}\n`);
        process.stdout.write(`qemu: ${prepared.qemu}\n`);
        return 0;
      }
    }
    const result = await runGuest({ ...common, ...(showConsole ? { console: process.stderr } : {}) });
    const isQuiet = received() !== undefined || result.status === STATUS_BROKEN_PIPE;
    if (result.problem !== undefined && !isQuiet) progress.note(`guest: ${result.problem}`);
    return received() ?? result.status;
  } catch (error) {
    const status = received();
    if (status !== undefined) return status;
    throw error;
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof UsageError || error instanceof GuestToolError)) throw error;
  progress.note(`guest: ${error.message}`);
  process.exitCode = error instanceof UsageError ? STATUS_USAGE : STATUS_FAILED;
}
