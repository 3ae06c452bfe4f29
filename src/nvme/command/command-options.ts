/** Options of a single command: time limit, signal, queue. */
import { MAX_TIMER_MS } from "../../core/check.js";
import { ArgumentError, TimeoutError } from "../../core/errors.js";
import { checkSignal } from "../../core/listeners.js";
import type { NvmeQueue } from "./queue.js";

/** How a command is carried out, besides what it says. */
export interface CommandOptions {
  /**
   * Time limit of this command in milliseconds, instead of the controller's. When it is over, the command is rejected with
   * TimeoutError, and the controller is asked to abort it (Abort). Its buffer stays in flight until the controller has
   * given the command back; where that takes longer than the controller's own time limit, the controller is stopped.
   */
  readonly timeoutMs?: number | undefined;
  /** Gives the command up in the same way, and rejects it with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The same for an I/O command. */
export interface IoCommandOptions extends CommandOptions {
  /** Queue to use, of `nvme.queues`. Left out, commands go round them. */
  readonly queue?: NvmeQueue | undefined;
}

/** @throws ArgumentError */
export function checkCommandOptions({ timeoutMs, signal }: CommandOptions): void {
  if (
    timeoutMs !== undefined &&
    !(typeof timeoutMs === "number" && timeoutMs >= 1 && timeoutMs <= MAX_TIMER_MS)
  ) {
    throw new ArgumentError(`timeoutMs must be between 1 and ${MAX_TIMER_MS}, got ${timeoutMs}`);
  }
  checkSignal(signal);
}

/** The time limit and the signal of one command, until the command is over. */
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
    signal?.addEventListener("abort", this.onAbort);
    if (timeoutMs !== undefined) {
      this.timer = setTimeout(() => this.end(new TimeoutError(name(), timeoutMs)), timeoutMs);
    }
  }

  /** The command is over. @param reason why it is given up before the controller has completed it */
  end(reason?: unknown): void {
    clearTimeout(this.timer);
    this.signal?.removeEventListener("abort", this.onAbort);
    if (this.isOver) return;
    this.isOver = true;
    if (reason !== undefined) this.giveUp(reason);
  }

  private readonly onAbort = (): void => this.end(this.signal?.reason);
}
