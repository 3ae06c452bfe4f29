/** Which timers and immediates the library has pending on this thread: what polls or spins always has one. */
import { createHook } from "node:async_hooks";
import { eventually } from "./eventually.js";

const KINDS: ReadonlySet<string> = new Set(["Timeout", "Immediate"]);
/** Sources, compiled files or the package of the library, and nobody else's. */
const LIBRARY_FRAME = /^(?!.*node_modules).*\/(?:src\/[a-z-]+|dist\/lib)\//m;
/** Turns of the event loop in which something that is due would show itself. */
const TURNS = 20;

export class LibraryTimers implements Disposable {
  /** Where each was started, by async id. */
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

  /** How many were started since this object was made. */
  get startedCount(): number {
    return this.started;
  }

  /** Waits until none is pending. @returns where the library started another one afterwards */
  async startedWhenIdle(): Promise<readonly string[]> {
    await eventually(() => (this.pending.size === 0 ? true : undefined));
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    return [...this.pending.values()];
  }

  [Symbol.dispose](): void {
    this.hook.disable();
  }
}
