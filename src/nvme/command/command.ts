/** An NVMe command as programs write it, and what its completion returns. */
import type { CommandData } from "./data-ranges.js";
import type { SglOptions } from "./sgl.js";

export type { BitBucket, CommandData, DataList, DataRange } from "./data-ranges.js";
export type { SglOptions };

/** One command, its dwords under the specification's names. */
export interface NvmeCommand {
  /** Opcode, 8 bits. */
  readonly opcode: number;
  /** Namespace identifier (NSID); 0 by default. */
  readonly nsid?: number;
  /** Command dword 2; 0 by default, like the others. */
  readonly cdw2?: number;
  /** Command dword 3. */
  readonly cdw3?: number;
  /** Command dword 10. */
  readonly cdw10?: number;
  /** Command dword 11. */
  readonly cdw11?: number;
  /** Command dword 12. */
  readonly cdw12?: number;
  /** Command dword 13. */
  readonly cdw13?: number;
  /** Command dword 14. */
  readonly cdw14?: number;
  /** Command dword 15. */
  readonly cdw15?: number;
  /** One range, named by PRPs; or a list of them, named by PRPs where they can and else by an SGL. */
  readonly data?: CommandData | undefined;
  /** Metadata that has a pointer of its own (MPTR). */
  readonly metadata?: CommandData | undefined;
  /** SGLs also where PRPs would do; with options, how they are cut into segments. */
  readonly sgl?: boolean | SglOptions | undefined;
  /** FUSE: the first (1) or second (2) of a fused operation; those are submitted together. */
  readonly fuse?: 1 | 2 | undefined;
  /** What the command is, for error messages. */
  readonly name?: string;
  /**
   * Completes when it has something to say, maybe never: no time limit, nobody waits for it at shutdown, and it doesn't
   * keep the process alive.
   */
  readonly background?: boolean;
}

/** What a successful command came back with. */
export interface NvmeCompletion {
  /** DW0 and DW1 of the completion, command specific. */
  readonly dw0: number;
  /** Dword 1 of the completion, command specific. */
  readonly dw1: number;
}
