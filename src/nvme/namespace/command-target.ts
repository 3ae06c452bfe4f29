/** What namespaces and their parts need of a controller. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { AdminTarget } from "../command/admin-target.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { IoCommandOptions } from "../command/command-options.js";
import type { NvmeQueue } from "../command/queue.js";

/** What a namespace needs of its controller. */
export interface CommandTarget extends AdminTarget {
  readonly capabilities: { readonly minPageBytes: number };
  submitIo(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion>;
  executeIo(command: NvmeCommand, options?: IoCommandOptions): Promise<void>;
  transferIo(
    opcode: number,
    nsid: number,
    lba: number,
    cdw12: number,
    buffer: DmaBuffer,
    offset: number,
    length: number,
    queue: NvmeQueue | undefined,
  ): Promise<void> | undefined;
  submitFused(
    first: NvmeCommand,
    second: NvmeCommand,
    options?: Pick<IoCommandOptions, "queue">,
  ): [first: Promise<NvmeCompletion>, second: Promise<NvmeCompletion>];
}
