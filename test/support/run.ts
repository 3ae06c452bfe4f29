/** Runs programs to their end. */
import { execFile, spawn } from "node:child_process";

/** How a program ended, and its output. */
export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Only ends a program that hangs: no test depends on how long a program takes. */
const HANG_MS = 540_000;

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

/** The result of a run, with standard output also as bytes. */
export interface InputOutcome extends Outcome {
  readonly bytes: Buffer;
}

/** Runs a program with this standard input to its end. */
export function runWithInput(
  program: string,
  args: readonly string[],
  input: Uint8Array | string = "",
): Promise<InputOutcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { timeout: HANG_MS, killSignal: "SIGKILL" });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    // The program may end without reading its input.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.once("error", reject);
    child.once("close", (status, signal) => {
      const bytes = Buffer.concat(out);
      resolve({ status, signal, bytes, stdout: bytes.toString(), stderr: Buffer.concat(err).toString() });
    });
  });
}
