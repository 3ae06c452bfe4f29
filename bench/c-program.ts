/** A C program of bench/ that does the same work as the library; it is compiled for this run, and both take turns. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../guest/paths.js";

/** Compiles a source below bench/, with the running kernel's headers if the guest has them. */
export function compileC(source: string): { readonly program: string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "iova-bench-"));
  const program = join(folder, "program");
  const headers = process.env["IOVA_KERNEL_HEADERS"];
  const include = headers === undefined ? [] : ["-I", join(headers, "include")];
  execFileSync(
    "gcc",
    ["-O2", "-Wall", "-Werror", ...include, "-o", program, join(packageRoot(), "bench", source)],
    {
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  return { program, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A running C program, which answers each line with a line. */
export class CProgram {
  private readonly child: ChildProcess;
  private readonly answers: AsyncIterableIterator<string>;

  /** @param fds inherited as descriptors 3, 4, ... */
  constructor(program: string, args: readonly string[], fds: readonly number[]) {
    this.child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit", ...fds] });
    if (this.child.stdout === null) throw new Error("no pipe to the C program");
    this.answers = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** Runs so many cycles. @returns nanoseconds per cycle */
  async run(cycles: number): Promise<number> {
    return Number(await this.ask(String(cycles))) / cycles;
  }

  /** @returns the program's answer to a line */
  async ask(line: string): Promise<string> {
    this.child.stdin?.write(`${line}\n`);
    const { value, done } = await this.answers.next();
    if (done === true)
      throw new Error(`the C program ended (${this.child.exitCode ?? this.child.signalCode})`);
    return value.trim();
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin?.end();
    await ended;
  }
}
