/**
 * Tracing through node:diagnostics_channel. Nothing is made for a channel without subscribers.
 *
 * - `iova:nvme:submit` {@link CommandTrace} as a command is posted,
 * - `iova:nvme:complete` {@link CompletionTrace} as it completes,
 * - `iova:nvme:lifecycle` {@link LifecycleTrace} at each event of a controller's lifecycle.
 */
import type { Channel } from "node:diagnostics_channel";
import { debugChannel } from "../../sys/debug-log.js";
import type { NvmeCommand } from "./command.js";

/** A command that is posted. */
export interface CommandTrace {
  /** PCI address of the controller. */
  readonly controller: string;
  /** Id of the submission queue; 0 is the admin queue. */
  readonly queue: number;
  /** Command identifier (CID). */
  readonly cid: number;
  /** The command, as it was passed. */
  readonly command: NvmeCommand;
}

/** A command that has completed. */
export interface CompletionTrace extends CommandTrace {
  /** Status field without the phase; 0 is success. */
  readonly status: number;
  /** Dword 0 of the completion. */
  readonly dw0: number;
  /** Dword 1 of the completion. */
  readonly dw1: number;
}

/** An event of {@link NvmeLifecycle}. */
export interface LifecycleTrace {
  /** PCI address of the controller. */
  readonly controller: string;
  /** Name of the event, such as "recovered". */
  readonly event: string;
  /** The event's arguments, as its listeners get them. */
  readonly details: readonly unknown[];
}

export const submitChannel: Channel = debugChannel("iova:nvme:submit");
export const completeChannel: Channel = debugChannel("iova:nvme:complete");
export const lifecycleChannel: Channel = debugChannel("iova:nvme:lifecycle");
