/**
 * Tracing through node:diagnostics_channel. A channel without subscribers costs nothing.
 *
 * - `iova:nvme:submit`: a {@link CommandTrace} when a command is posted
 * - `iova:nvme:complete`: a {@link CompletionTrace} when a command completes
 * - `iova:nvme:lifecycle`: a {@link LifecycleTrace} at each event of a controller's lifecycle
 */
import type { Channel } from "node:diagnostics_channel";
import { debugChannel } from "../../sys/debug-log.js";
import type { NvmeCommand } from "./command.js";

/** A posted command. */
export interface CommandTrace {
  /** PCI address of the controller. */
  readonly controller: string;
  /** Id of the submission queue; 0 is the admin queue. */
  readonly queue: number;
  /** Command identifier (CID). */
  readonly cid: number;
  /** The command as it was submitted. */
  readonly command: NvmeCommand;
}

/** A completed command. */
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
  /** Arguments of the event's listeners. */
  readonly details: readonly unknown[];
}

export const submitChannel: Channel = debugChannel("iova:nvme:submit");
export const completeChannel: Channel = debugChannel("iova:nvme:complete");
export const lifecycleChannel: Channel = debugChannel("iova:nvme:lifecycle");
