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
  readonly queue: number;
  readonly cid: number;
  readonly command: NvmeCommand;
}

/** A command that has completed. */
export interface CompletionTrace extends CommandTrace {
  /** Status field without the phase; 0 is success. */
  readonly status: number;
  readonly dw0: number;
  readonly dw1: number;
}

/** An event of {@link NvmeLifecycle}. */
export interface LifecycleTrace {
  readonly controller: string;
  readonly event: string;
  readonly details: readonly unknown[];
}

export const submitChannel: Channel = debugChannel("iova:nvme:submit");
export const completeChannel: Channel = debugChannel("iova:nvme:complete");
export const lifecycleChannel: Channel = debugChannel("iova:nvme:lifecycle");
