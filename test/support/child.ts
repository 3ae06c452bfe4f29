/** Child processes and their output. */
import { type ChildProcess, spawn } from "node:child_process";

/** Only ends a program that hangs: no test depends on how long a program takes. */
const HANG_MS = 540_000;

/** A running program and its output. */
export class Child {
  private readonly child: ChildProcess;
  private out = "";
  private err = "";
  /** How it ended: exit status, or the signal that killed it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;

  /** Starts a script with the Node that runs the tests. */
  constructor(...args: readonly string[]) {
    const child = spawn(process.execPath, args, {
      stdio: ["pipe", "pipe", "pipe"],
      timeout: HANG_MS,
      killSignal: "SIGKILL",
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.err += text;
    });
    // The child may have been killed.
    child.stdin.on("error", () => {});
    this.child = child;
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status, signal) => resolve(signal ?? status));
    });
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error("the program did not start");
    return pid;
  }

  get stdout(): string {
    return this.out;
  }

  get stderr(): string {
    return this.err;
  }

  /** Resolves when it has printed this. @throws Error with its output if it ends before */
  async says(text: string): Promise<void> {
    const ended = this.ended.then((how) => {
      if (!this.out.includes(text)) throw new Error(`ended with ${how} and said: ${this.out}${this.err}`);
    });
    const said = new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.out.includes(text)) resolve();
      };
      look();
      this.child.stdout?.on("data", look);
    });
    await Promise.race([said, ended]);
  }

  /** Writes to its standard input. */
  tell(text: string): void {
    this.child.stdin?.write(text);
  }

  /** The end of its standard input, after this. */
  endInput(text: string): void {
    this.child.stdin?.end(text);
  }

  kill(): void {
    this.child.kill("SIGKILL");
  }
}

/** Runs a script to its end. */
export async function runChild(...args: readonly string[]): Promise<Child> {
  const child = new Child(...args);
  await child.ended;
  return child;
}
