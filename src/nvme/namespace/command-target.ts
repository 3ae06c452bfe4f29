/** What namespaces and their parts need of a controller, and I/O commands that carry a few bytes. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { AdminTarget } from "../command/admin-target.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { IoCommandOptions } from "../command/command-options.js";
import type { NvmeQueue } from "../command/queue.js";
import type { BounceBuffers } from "../memory/bounce-buffers.js";
import type { PreparedCommands } from "../queues/prepared-commands.js";

/** What a namespace needs of its controller. Its methods throw at once, not as a rejection, if an argument is wrong. */
export interface CommandTarget extends AdminTarget {
  readonly capabilities: { readonly minPageBytes: number };
  /** For bytes outside DMA buffers. */
  readonly bounce: BounceBuffers;
  /** Submits a command to an I/O queue, after a check of its data and options. */
  submitIo(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion>;
  /**
   * Submits a checked read or write of one contiguous buffer, without an object for the command.
   * @param lba a safe integer
   * @param cdw12 blocks and control
   */
  transferIo(
    opcode: number,
    nsid: number,
    lba: number,
    cdw12: number,
    buffer: DmaBuffer,
    offset: number,
    length: number,
    queue: NvmeQueue | undefined,
  ): Promise<void>;
  /** Makes the queue entries of commands, after a check of their data. */
  prepareIo(commands: NvmeCommand[]): PreparedCommands;
  /** Submits prepared commands. @param onEnd see {@link PreparedCommands.begin} */
  submitPrepared(
    batch: PreparedCommands,
    queue: NvmeQueue | undefined,
    onEnd: (error: Error | undefined) => void,
  ): void;
  /** Submits a fused operation. */
  submitFused(
    first: NvmeCommand,
    second: NvmeCommand,
    options?: IoCommandOptions,
  ): [first: Promise<NvmeCompletion>, second: Promise<NvmeCompletion>];
}

/** Submits an I/O command that reads `sizeBytes` from the controller. @throws as NvmeController.io() */
export async function ioRead(
  target: CommandTarget,
  command: Omit<NvmeCommand, "data">,
  sizeBytes: number,
): Promise<Uint8Array> {
  const buffer = target.dma.alloc(sizeBytes);
  try {
    await target.submitIo({ ...command, data: { buffer, length: sizeBytes } });
    return buffer.bytes.slice(0, sizeBytes);
  } finally {
    buffer.close();
  }
}

/** Submits an I/O command that sends these bytes to the controller. @throws as NvmeController.io() */
export async function ioWrite(
  target: CommandTarget,
  command: Omit<NvmeCommand, "data">,
  bytes: Uint8Array,
): Promise<void> {
  const buffer = target.dma.alloc(bytes.length);
  try {
    buffer.bytes.set(bytes);
    await target.submitIo({ ...command, data: { buffer, length: bytes.length } });
  } finally {
    buffer.close();
  }
}
