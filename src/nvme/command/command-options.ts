/** Options of a single command: time limit, signal, queue. */
import { checkObject, MAX_TIMER_MS, show } from "../../core/check.js";
import { ArgumentError, TimeoutError } from "../../core/errors.js";
import { addAbortListener, checkSignal } from "../../core/listeners.js";
import type { NvmeQueue } from "./queue.js";

/** Time limit and signal of one command. */
export interface CommandOptions {
  /**
   * Time limit of this command in milliseconds, instead of the controller's. When it expires, the promise rejects with a
   * TimeoutError, and the driver sends an Abort. The buffer stays in flight until the controller completes the command. If
   * that takes longer than the controller's time limit, the driver stops the controller.
   */
  readonly timeoutMs?: number | undefined;
  /** Aborts the command in the same way. The promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of one I/O command. */
export interface IoCommandOptions extends CommandOptions {
  /** Queue of `nvme.queues` to use. Default: the next one in turn. */
  readonly queue?: NvmeQueue | undefined;
}

/** @throws ArgumentError */
export function checkCommandOptions(options: CommandOptions): void {
  checkObject("options", options);
  const { timeoutMs, signal } = options;
  if (
    timeoutMs !== undefined &&
    !(typeof timeoutMs === "number" && timeoutMs >= 1 && timeoutMs <= MAX_TIMER_MS)
  ) {
    throw new ArgumentError(`timeoutMs must be between 1 and ${MAX_TIMER_MS}, got ${show(timeoutMs)}`);
  }
  checkSignal(signal);
}

/** Watches the time limit and the signal of a command until it completes. */
export class CommandLimits {
  readonly timeoutMs: number | undefined;
  private readonly signal: AbortSignal | undefined;
  private readonly timer: NodeJS.Timeout | undefined;
  private isOver = false;

  constructor(
    name: () => string,
    options: CommandOptions,
    private readonly giveUp: (reason: unknown) => void,
  ) {
    const { timeoutMs, signal } = options;
    this.timeoutMs = timeoutMs;
    this.signal = signal;
    if (signal !== undefined) addAbortListener(signal, this.onAbort);
    if (timeoutMs !== undefined) {
      this.timer = setTimeout(() => this.end(new TimeoutError(name(), timeoutMs)), timeoutMs);
    }
  }

  /** Stops watching. @param reason why the driver abandons the command before it has completed; undefined if it has */
  end(reason?: unknown): void {
    clearTimeout(this.timer);
    this.signal?.removeEventListener("abort", this.onAbort);
    if (this.isOver) return;
    this.isOver = true;
    if (reason !== undefined) this.giveUp(reason);
  }

  private readonly onAbort = (): void => this.end(this.signal?.reason);
}
