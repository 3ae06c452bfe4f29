/** States of a controller: failure, reset and recovery. */
import { EventEmitter } from "node:events";
import { setTimeout } from "node:timers/promises";
import { noteError } from "../../activity/page.js";
import { asError, ClosedError, DeviceGoneError, StateError } from "../../core/errors.js";
import type { NvmeCommand } from "../command/command.js";
import { type NvmeError, NvmeResetError } from "../command/error.js";
import { lifecycleChannel } from "../command/trace.js";
import { DataDirection, dataDirection } from "../spec/queue-entries.js";
import type { SetFeature } from "./feature-restore.js";
import type { NvmeConfig } from "./options.js";

/**
 * State of a controller: `live` executes commands; `resetting` and `recovering` queue them; `shut down` and `failed` reject
 * them until a reset().
 */
export type NvmeState =
  | "starting"
  | "live"
  | "resetting"
  | "recovering"
  | "shutting down"
  | "shut down"
  | "failed"
  | "closing"
  | "closed";

/** Events of a controller's lifecycle: `nvme.lifecycle.on("recovered", ...)`. */
export interface NvmeLifecycleEvents {
  /** The controller failed, disappeared or violated the protocol, and is being stopped. */
  failure: [error: Error];
  /** An attempt to recover begins; the first is 1. */
  recovering: [attempt: number, error: Error];
  /** The controller works again. Its queues are restored, and the features that the program set (`restoreFeatures`). */
  recovered: [attempts: number];
  /** After a reset, the controller rejected a feature that the program had set. It has its power-on value. */
  featureLost: [feature: SetFeature, error: NvmeError];
  /** The controller stays down. All commands are rejected, also new ones. */
  failed: [error: Error];
  /**
   * The kernel requests the device back, because it is being removed: close it. Without a listener, all commands are
   * rejected with DeviceGoneError and the controller stays down.
   */
  removal: [];
}

/** Which commands that are outstanding at a reset are submitted again. */
export type RetryPolicy = "fail" | "reads" | "all";

/** What the lifecycle does with the controller's parts. */
export interface LifecycleParts {
  readonly name: string;
  /** Ends all DMA by any means. Never throws. */
  stop(): Promise<void>;
  /** Starts a stopped controller and creates its I/O queues. @param hard whether to reset the function first */
  restart(hard: boolean, signal: AbortSignal): Promise<void>;
  /** Takes all commands back from a stopped controller. */
  suspend(error: Error, policy: RetryPolicy): void;
  /** Submits the waiting commands. */
  resume(): void;
  /**
   * Rejects all commands, present and future.
   * @internal
   */
  fail(error: Error): void;
}

const MAX_DELAY_MS = 5000;

/**
 * Failure, reset and recovery of a controller. Commands are settled or queued only after the controller has stopped: until
 * then it may write to their buffers.
 */
export class NvmeLifecycle extends EventEmitter<NvmeLifecycleEvents> {
  private current: NvmeState = "starting";
  private cause: Error | undefined;
  /** A transition under way. Never rejects. */
  private work: Promise<void> = Promise.resolve();
  /** The restart under way. */
  private attempt: AbortController | undefined;
  private closing = false;

  /** @internal */
  constructor(
    private readonly parts: LifecycleParts,
    private readonly recovery: NvmeConfig["recovery"],
  ) {
    super();
  }

  /** The current state. */
  get state(): NvmeState {
    return this.current;
  }

  /** Why the controller failed; undefined if it didn't. */
  get failure(): Error | undefined {
    return this.cause;
  }

  /**
   * Checks that commands are accepted, at least to wait. @throws the failure, ClosedError, StateError
   * @internal
   */
  assertUsable(): void {
    if (this.current === "live") return;
    if (this.closing) throw new ClosedError(`NVMe controller ${this.parts.name}`);
    if (this.cause !== undefined) throw this.cause;
    if (this.current === "shut down" || this.current === "shutting down") {
      throw new StateError(`${this.parts.name} was shut down: call reset()`);
    }
  }

  /**
   * The first start is done.
   * @internal
   */
  started(): void {
    if (this.current === "starting") this.current = "live";
  }

  /**
   * Handles an error that leaves the state of commands unknown.
   * @internal
   */
  fail(error: Error, attempts = this.recovery.attempts): void {
    if (this.attempt !== undefined) {
      this.failAttempt(error, this.attempt);
      return;
    }
    const { current } = this;
    const canFail = ["live", "starting", "shutting down", "closing"].includes(current);
    if (!canFail) return;
    this.current = "recovering";
    this.work = this.handle(error, current === "live" ? attempts : 0);
  }

  /**
   * Stops the controller with `how`, and starts it again.
   * @throws the reason if the start fails; the state is `failed` then; StateError if another reset is under way
   * @internal
   */
  async reset(how: () => Promise<void>, policy: RetryPolicy): Promise<void> {
    if (this.closing) throw new ClosedError(`NVMe controller ${this.parts.name}`);
    if (this.current !== "live" && this.current !== "failed" && this.current !== "shut down") {
      throw new StateError(`${this.parts.name} is ${this.current}`);
    }
    this.current = "resetting";
    let failure: unknown;
    this.work = this.resetNow(how, policy).catch((error: unknown) => {
      failure = error;
    });
    await this.work;
    if (failure !== undefined) throw failure;
  }

  /**
   * Shuts a live controller down with `how`; it rejects commands afterwards. @throws what `how` throws
   * @internal
   */
  async shutDown(how: () => Promise<void>): Promise<void> {
    this.assertUsable();
    if (this.current !== "live") throw new StateError(`${this.parts.name} is ${this.current}`);
    this.current = "shutting down";
    try {
      await how();
    } catch (error) {
      // A controller whose shutdown fails is stopped.
      this.fail(asError(error));
      await this.work;
      throw error;
    }
    if (this.state !== "shutting down") throw this.cause ?? new ClosedError(this.parts.name);
    this.current = "shut down";
    this.parts.suspend(new StateError(`${this.parts.name} was shut down`), "fail");
  }

  /**
   * Rejects new commands and stops recovery. Resolves when no transition is under way.
   * @internal
   */
  async beginClosing(): Promise<void> {
    this.closing = true;
    if (this.current === "live") this.current = "closing";
    await this.work;
  }

  /**
   * The kernel waits until the device is closed. A program without a listener notices by its rejected commands.
   * @internal
   */
  removalRequested(): void {
    this.tell("removal");
    if (this.listenerCount("removal") > 0 || this.current !== "live") return;
    this.fail(new DeviceGoneError(this.parts.name, "is being removed: close it"), 0);
  }

  /** @internal */
  featureLost(feature: SetFeature, error: NvmeError): void {
    noteError(this.parts.name, error);
    this.tell("featureLost", feature, error);
  }

  /** @internal */
  closed(): void {
    this.current = "closed";
  }

  /**
   * Waits until a failure is handled.
   * @internal
   */
  async settled(): Promise<void> {
    await this.work;
  }

  private async handle(error: Error, attempts: number): Promise<void> {
    noteError(this.parts.name, error);
    this.tell("failure", error);
    try {
      await this.recover(error, attempts);
    } catch (unexpected) {
      // Whatever happens, commands end.
      this.goDown(asError(unexpected));
    }
  }

  private async recover(error: Error, attempts: number): Promise<void> {
    const { parts, recovery } = this;
    await parts.stop();
    let last = error;
    for (let attempt = 1; attempt <= attempts && !this.closing; attempt++) {
      parts.suspend(last, recovery.retry);
      this.tell("recovering", attempt, last);
      if (attempt > 1) await setTimeout(Math.min(recovery.delayMs * 2 ** (attempt - 2), MAX_DELAY_MS));
      try {
        await this.restart(attempt > 1);
        this.goLive();
        this.tell("recovered", attempt);
        return;
      } catch (failure) {
        last = asError(failure);
        await parts.stop();
      }
    }
    this.goDown(error);
  }

  private async resetNow(how: () => Promise<void>, policy: RetryPolicy): Promise<void> {
    const { parts } = this;
    try {
      await how();
      parts.suspend(new NvmeResetError(parts.name), policy);
      await this.restart(false);
      this.goLive();
    } catch (error) {
      const failure = asError(error);
      await parts.stop();
      this.goDown(failure);
      throw failure;
    }
  }

  private async restart(hard: boolean): Promise<void> {
    const attempt = new AbortController();
    this.attempt = attempt;
    try {
      await this.parts.restart(hard, attempt.signal);
      attempt.signal.throwIfAborted();
    } finally {
      this.attempt = undefined;
    }
  }

  /** Ends a restart whose controller has failed. */
  private failAttempt(error: Error, attempt: AbortController): void {
    if (attempt.signal.aborted) return;
    void this.parts.stop().then(() => {
      this.parts.suspend(error, this.recovery.retry);
      attempt.abort(error);
    });
  }

  private goLive(): void {
    this.current = this.closing ? "closing" : "live";
    this.cause = undefined;
    this.parts.resume();
  }

  /** Emits an event. A listener's exception must not end the transition. */
  private tell<K extends keyof NvmeLifecycleEvents>(event: K, ...told: NvmeLifecycleEvents[K]): void {
    if (lifecycleChannel.hasSubscribers) {
      lifecycleChannel.publish({ controller: this.parts.name, event, details: told });
    }
    for (const listener of this.listeners(event)) {
      try {
        Reflect.apply(listener, this, told);
      } catch (error) {
        setImmediate(() => {
          throw error;
        });
      }
    }
  }

  private goDown(error: Error): void {
    this.current = "failed";
    this.cause = error;
    try {
      this.parts.fail(error);
    } catch (unexpected) {
      noteError(this.parts.name, unexpected);
    }
    noteError(`${this.parts.name} stays down`, error);
    this.tell("failed", error);
  }
}

/** Whether the command changes nothing: its data comes from the controller. */
function onlyReads({ opcode }: NvmeCommand): boolean {
  return dataDirection(opcode) === DataDirection.controllerToHost;
}

/** Compare and Verify change nothing either. */
const HARMLESS: ReadonlySet<number> = new Set([0x05, 0x0c]);

/** Selects which commands that were outstanding at a reset are submitted again. */
export function staysFor(policy: RetryPolicy, isAdmin: boolean): (command: NvmeCommand) => boolean {
  if (policy === "fail") return () => false;
  // An admin command may have had its effect already, or belong to the driver.
  if (isAdmin) return onlyReads;
  if (policy === "all") return () => true;
  return (command) => onlyReads(command) || HARMLESS.has(command.opcode);
}
