/** Records the pending timers and immediates of the library on this thread. Code that polls or spins always has one. */
import { createHook } from "node:async_hooks";
import { eventually } from "./eventually.js";

const KINDS: ReadonlySet<string> = new Set(["Timeout", "Immediate"]);
/** A stack frame of the library: sources, compiled files or package. */
const LIBRARY_FRAME = /^(?!.*node_modules).*\/(?:src\/[a-z-]+|dist\/lib)\//m;
/** Turns of the event loop in which pending work would become visible. */
const TURNS = 20;

export class LibraryTimers implements Disposable {
  /** Stack traces of their starts, by async id. */
  private readonly pending = new Map<number, string>();
  private started = 0;

  private readonly hook = createHook({
    init: (id, type) => {
      if (!KINDS.has(type)) return;
      const { stack = "" } = new Error("started");
      if (!LIBRARY_FRAME.test(stack)) return;
      this.pending.set(id, stack);
      this.started++;
    },
    destroy: (id) => {
      this.pending.delete(id);
    },
  }).enable();

  /** Number started since this object was made. */
  get startedCount(): number {
    return this.started;
  }

  /** Waits until none is pending. @returns the stack traces of those that the library started afterwards */
  async startedWhenIdle(): Promise<readonly string[]> {
    await eventually(() => (this.pending.size === 0 ? true : undefined));
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    return [...this.pending.values()];
  }

  [Symbol.dispose](): void {
    this.hook.disable();
  }
}
