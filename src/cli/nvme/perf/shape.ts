/** What `iova nvme perf` can ask of commands beyond plain reads or writes of one size. */
import type { ProtectionFormat } from "../../../nvme/protection/information.js";

/** Commands of one size. */
export interface PerfSize {
  readonly blocks: number;
  /** How many in 100 have it or one before it. */
  readonly upTo: number;
}

export interface PerfShape {
  readonly readPercent: number;
  /** From the smallest on, which divides all others: commands begin at its multiples. */
  readonly sizes: readonly PerfSize[];
  readonly blockSizeBytes: number;
  readonly metadataBytes: number;
  /** Bytes that one block moves: with its metadata if that is interleaved. */
  readonly strideBytes: number;
  readonly sgl: boolean;
  /** Protection information field (PRINFO). */
  readonly prinfo: number;
  /** Of namespaces with protection. */
  readonly protection: ProtectionFormat | undefined;
  /** Most commands or bytes a second of this queue; 0 is no limit. */
  readonly commandRate: number;
  readonly byteRate: number;
  /** Writes the whole range first, compares each read with what was written, and reads all of it at the end. */
  readonly verify: boolean;
}

/** PRINFO: the controller makes and takes the information; it checks guard, application tag and reference tag. */
export const Prinfo = { action: 8, guard: 4, application: 2, reference: 1 } as const;
