/**
 * An emulated controller in a process of its own. A thread would do for most tests, but each thread that has loaded koffi leaves a
 * little address space behind in its process (docs/emulator.md).
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { EmulatorOrder, EmulatorRequest } from "../../src/emulator/worker.js";

/** Where the compiled programs are. */
export interface EmulatorPrograms {
  /** emulator-process-main.ts. */
  readonly main: string;
  /** The emulator's thread. */
  readonly thread: URL;
}

export class EmulatorProcess {
  private constructor(private readonly child: ChildProcess) {}

  /** @throws Error if it doesn't start */
  static async start(programs: EmulatorPrograms, request: EmulatorRequest): Promise<EmulatorProcess> {
    const child = fork(programs.main, [JSON.stringify(request), programs.thread.href], { execArgv: [] });
    const started = new EmulatorProcess(child);
    await started.answer();
    return started;
  }

  /** One order at a time. @throws Error if it can't be done */
  async order(order: EmulatorOrder): Promise<void> {
    const answered = this.answer();
    this.child.send(order);
    await answered;
  }

  async close(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = once(this.child, "exit");
    this.child.disconnect();
    await ended;
  }

  private async answer(): Promise<void> {
    const scope = new AbortController();
    const { signal } = scope;
    const ended = once(this.child, "exit", { signal }).then(([status]) => {
      throw new Error(`the emulator's process ended with ${status}`);
    });
    try {
      const [{ error }] = await Promise.race([once(this.child, "message", { signal }), ended]);
      if (error !== undefined) throw new Error(error);
    } finally {
      scope.abort();
      ended.catch(() => {});
    }
  }
}
