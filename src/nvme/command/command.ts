/** An NVMe command as programs write it, and its completion. */
import type { CommandData } from "./data-ranges.js";
import type { SglOptions } from "./sgl.js";

export type { BitBucket, CommandData, DataList, DataRange } from "./data-ranges.js";
export type { SglOptions };

/** A command. Dwords have the specification's names. */
export interface NvmeCommand {
  /** Opcode, 8 bits. */
  readonly opcode: number;
  /** Namespace identifier (NSID); 0 by default. */
  readonly nsid?: number | undefined;
  /** Command dword 2; 0 by default, as all others. */
  readonly cdw2?: number | undefined;
  /** Command dword 3. */
  readonly cdw3?: number | undefined;
  /** Command dword 10. */
  readonly cdw10?: number | undefined;
  /** Command dword 11. */
  readonly cdw11?: number | undefined;
  /** Command dword 12. */
  readonly cdw12?: number | undefined;
  /** Command dword 13. */
  readonly cdw13?: number | undefined;
  /** Command dword 14. */
  readonly cdw14?: number | undefined;
  /** Command dword 15. */
  readonly cdw15?: number | undefined;
  /** A range or a list of ranges. The driver uses PRPs if they can describe the data, otherwise an SGL. */
  readonly data?: CommandData | undefined;
  /** Metadata in a separate buffer (MPTR). */
  readonly metadata?: CommandData | undefined;
  /** Uses an SGL even if PRPs suffice. Options set the size of its segments. */
  readonly sgl?: boolean | SglOptions | undefined;
  /** FUSE: first (1) or second (2) command of a fused operation. Both are submitted together. */
  readonly fuse?: 1 | 2 | undefined;
  /** Name of the command, for error messages. */
  readonly name?: string | undefined;
  /**
   * The command may never complete, like Asynchronous Event Request. It has no time limit, a shutdown doesn't wait for
   * it, and it doesn't keep the process alive.
   */
  readonly background?: boolean | undefined;
}

/** Completion of a successful command. */
export interface NvmeCompletion {
  /** Dword 0 of the completion, command specific. */
  readonly dw0: number;
  /** Dword 1 of the completion, command specific. */
  readonly dw1: number;
}
