/** The Copy command (Simple Copy): its options, dwords and source ranges. */
import { checkInteger, checkKeys, checkList, show } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import type { NvmeCommand } from "../command/command.js";
import type { IdentifyNamespace } from "../spec/identify.js";
import { IO_PRACT, IoOpcode } from "../spec/opcodes.js";
import type { BlockFormat } from "./block-format.js";
import type { CommandTarget } from "./command-target.js";
import { type CopyRange, copyRangeBytes, encodeCopyRanges, namesSource } from "./dataset.js";
import { ioFields, type ProtectionOptions } from "./io-options.js";
import { checkLba, lbaDwords } from "./lba.js";

/** Options of {@link NvmeNamespace.copy}. */
export interface CopyOptions {
  /** Force Unit Access: bypasses the volatile write cache. */
  readonly fua?: boolean | undefined;
  /** The controller should limit its retries on errors. */
  readonly limitedRetry?: boolean | undefined;
  /**
   * Descriptor format; by default 0 if the guard has 16 bits or there is none, otherwise 1; 2 and 3 instead if a range names a
   * namespace, which the host enables by Host Behavior Support (`setHostBehavior({ cdfe: 0b1100 })`).
   */
  readonly format?: 0 | 1 | 2 | 3 | undefined;
  /** Protection of the blocks that are written. The checks of the sources are `sourceProtection`. */
  readonly protection?: ProtectionOptions | undefined;
  /** Checks of the sources. Each range has its own tags. */
  readonly sourceProtection?:
    | Pick<ProtectionOptions, "action" | "guard" | "reference" | "storage">
    | undefined;
}

const copyOptions: readonly (keyof CopyOptions)[] = [
  "fua",
  "limitedRetry",
  "format",
  "protection",
  "sourceProtection",
];
const sourceOptions: readonly (keyof NonNullable<CopyOptions["sourceProtection"]>)[] = [
  "action",
  "guard",
  "reference",
  "storage",
];

/** What Copy needs of a namespace. */
export interface CopiedBlocks {
  readonly nsid: number;
  readonly identify: IdentifyNamespace;
  readonly format: BlockFormat;
}

/**
 * Builds a Copy command, and the source ranges that are its data.
 * @throws ArgumentError if an argument is wrong or more than the namespace allows (MSRC, MSSRL, MCL); UnsupportedError if
 *   the controller doesn't support the descriptor format (OCFS)
 */
export function copyCommand(
  { bdf, identify: { ocfs } }: CommandTarget,
  { nsid, identify, format }: CopiedBlocks,
  to: bigint | number,
  ranges: readonly CopyRange[],
  options: CopyOptions,
): { readonly command: Omit<NvmeCommand, "data">; readonly bytes: Uint8Array } {
  checkKeys("options", options, copyOptions);
  checkLba("lba", to);
  checkList("ranges", ranges, 1, identify.msrc + 1);
  const wide = (format.protection?.format.guardBits ?? 16) > 16;
  const named = ranges.some((range) => typeof range === "object" && range !== null && namesSource(range));
  const descriptors = options.format ?? (named ? (wide ? 3 : 2) : wide ? 1 : 0);
  if (typeof descriptors !== "number" || !(descriptors in copyRangeBytes))
    throw new ArgumentError(`format must be 0 to 3, got ${show(descriptors)}`);
  if ((ocfs & (1 << descriptors)) === 0) {
    throw new UnsupportedError(
      `the controller ${bdf} doesn't support Copy with descriptor format ${descriptors} (OCFS)`,
    );
  }
  const bytes = encodeCopyRanges(ranges, descriptors, format.protection, nsid);
  checkCounts(ranges, identify);
  const writes = ioFields(format, BigInt(to), options, "always");
  if (options.sourceProtection !== undefined)
    checkKeys("sourceProtection", options.sourceProtection, sourceOptions);
  const protection = options.sourceProtection ?? sourceDefault(format, writes.control);
  const reads = ioFields(format, 0n, { protection }, "never");
  // PRINFOR has the same bits as PRINFOW, 14 bits lower. The storage tag check of the sources is one bit above that of the
  // destination.
  const prinfoRead = ((reads.control >>> 26) & 0xf) << 12;
  const storageRead = ((reads.control >>> 24) & 1) << 25;
  const command = {
    name: "copy",
    opcode: IoOpcode.copy,
    nsid,
    cdw2: writes.cdw2,
    cdw3: writes.cdw3,
    ...lbaDwords(to),
    cdw12: ((ranges.length - 1) | (descriptors << 8) | prinfoRead | storageRead | writes.control) >>> 0,
    cdw14: writes.cdw14,
    cdw15: writes.cdw15,
  };
  return { command, bytes };
}

/** @throws ArgumentError if one range (MSSRL) or all ranges together (MCL) exceed the namespace's limit */
function checkCounts(ranges: readonly CopyRange[], { mssrl, mcl }: IdentifyNamespace): void {
  let total = 0;
  for (const { blocks } of ranges) total += checkInteger("blocks", blocks, 1, mssrl);
  checkInteger("blocks of all ranges", total, 1, mcl);
}

/** By default the sources have the PRACT of the destination: a controller accepts it for both or for neither. */
function sourceDefault({ protection }: BlockFormat, writes: number): ProtectionOptions | undefined {
  return protection === undefined ? undefined : { action: (writes & IO_PRACT) !== 0 };
}
