/** The `iova` command as a process of its own. */
import { spawn } from "node:child_process";
import { type CompiledTree, compileTree } from "./compiled.js";
import type { Outcome } from "./run.js";

/** Only ends what hangs: no test depends on how long a program takes. */
const HANG_MS = 120_000;

/** What a run left; standard output also as bytes. */
export interface CliOutcome extends Outcome {
  readonly bytes: Buffer;
}

/** Runs a program with this standard input to its end. */
export function runWithInput(
  program: string,
  args: readonly string[],
  input: Uint8Array | string = "",
): Promise<CliOutcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { timeout: HANG_MS, killSignal: "SIGKILL" });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    // It need not read what it is given.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.once("error", reject);
    child.once("close", (status, signal) => {
      const bytes = Buffer.concat(out);
      resolve({ status, signal, bytes, stdout: bytes.toString(), stderr: Buffer.concat(err).toString() });
    });
  });
}

/** The command, compiled from these sources. */
export interface IovaCli extends Disposable {
  readonly path: string;
  /** Runs it to its end. */
  run(args: readonly string[], input?: Uint8Array | string): Promise<CliOutcome>;
  /** The JSON it prints. @throws Error where it fails */
  json(...args: readonly string[]): Promise<unknown>;
}

export function compileCli(): IovaCli {
  const tree: CompiledTree = compileTree("src/cli/main.ts");
  const path = tree.file("src/cli/main.ts");
  const run: IovaCli["run"] = (args, input) => runWithInput(process.execPath, [path, ...args], input);
  return {
    path,
    run,
    async json(...args) {
      const { status, stdout, stderr } = await run([...args, "--json"]);
      if (status !== 0) throw new Error(`iova ${args.join(" ")} ended with ${status}: ${stderr}`);
      return JSON.parse(stdout);
    },
    [Symbol.dispose]: () => tree[Symbol.dispose](),
  };
}
