/** What namespaces and their parts need of a controller. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { AdminTarget } from "../command/admin-target.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { IoCommandOptions } from "../command/command-options.js";
import type { NvmeQueue } from "../command/queue.js";

/** What a namespace needs of its controller. All throw at once, and not as a rejection, where arguments are wrong. */
export interface CommandTarget extends AdminTarget {
  readonly capabilities: { readonly minPageBytes: number };
  /** Submits a command to an I/O queue, after a check of its data and options. */
  submitIo(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion>;
  /**
   * Submits a checked read or write of one contiguous buffer, without an object for it.
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
  /** Submits a fused operation. */
  submitFused(
    first: NvmeCommand,
    second: NvmeCommand,
    options?: IoCommandOptions,
  ): [first: Promise<NvmeCompletion>, second: Promise<NvmeCompletion>];
}
