import { execFile } from "node:child_process";

/** How a program ended, and what it said. */
export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Only ends what hangs: no test depends on how long a program takes. */
const HANG_MS = 60_000;

/** Runs a program to its end. */
export function run(program: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { timeout: HANG_MS, killSignal: "SIGKILL", maxBuffer: 64 * 1024 * 1024 } as const;
    const child = execFile(program, args, options, (_error, stdout, stderr) => {
      resolve({ status: child.exitCode, signal: child.signalCode, stdout, stderr });
    });
  });
}

/** Runs a script with the Node that runs the tests. */
export function runNode(...args: string[]): Promise<Outcome> {
  return run(process.execPath, args);
}
