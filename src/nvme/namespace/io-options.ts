import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { IoCommandOptions } from "../command/command-options.js";
import { type CommandData, cutData, dataBytes } from "../command/data-ranges.js";
import type { SglOptions } from "../command/sgl.js";
import type { ProtectionChecks } from "../protection/information.js";
import {
  IO_FUA,
  IO_LIMITED_RETRY,
  IO_PRACT,
  IO_PRCHK_APP,
  IO_PRCHK_GUARD,
  IO_PRCHK_REF,
} from "../spec/opcodes.js";
import type { BlockFormat } from "./block-format.js";

/** CDW12 of commands with protection information: the storage tag is checked (STC). */
const IO_STORAGE_CHECK = 1 << 24;
/** CDW12 bits 23:20, Directive Type. */
const DIRECTIVE_SHIFT = 20;
const DIRECTIVE_STREAMS = 1;
const DIRECTIVE_PLACEMENT = 2;

/** End-to-end protection of one command. What it checks is as with {@link ProtectionChecks}, but for these defaults. */
export interface ProtectionOptions extends ProtectionChecks {
  /**
   * Protection Information Action (PRACT): the controller makes the information of what is written, and where it is all the
   * metadata there is, also takes it away from what is read: none is transferred. By default it doesn't, and the metadata
   * carries the information.
   */
  readonly action?: boolean | undefined;
  /** Of the first block. By default the low bits of its LBA, with type 3 zero. */
  readonly referenceTag?: bigint | undefined;
  /** By default with types 1 and 2. */
  readonly reference?: boolean | undefined;
}

/** Options of {@link NvmeNamespace.read}, {@link NvmeNamespace.write} and their likes. */
export interface IoOptions extends IoCommandOptions {
  /** First byte in the buffer, multiple of 4; 0 by default. Not with a list of ranges. */
  readonly offset?: number | undefined;
  /** Bytes, multiple of the block size; to the buffer's end by default. Not with a list of ranges. */
  readonly length?: number | undefined;
  /** Force Unit Access: past any volatile cache. */
  readonly fua?: boolean | undefined;
  /** The controller should give up early on a read or write that needs retries. */
  readonly limitedRetry?: boolean | undefined;
  /**
   * Where the blocks' metadata is or goes, on a namespace that transfers it separately: as many bytes as the blocks have,
   * from the start of it.
   */
  readonly metadata?: DmaBuffer | CommandData | undefined;
  /**
   * End-to-end protection, on a namespace that has it. Left out, and without `metadata`, the controller makes and checks
   * what is needed where it can do so alone: where protection information is all the metadata.
   */
  readonly protection?: ProtectionOptions | undefined;
  /** SGLs also where PRPs would do; with options, how they are cut into segments. */
  readonly sgl?: boolean | SglOptions | undefined;
  /** For writes: data placement identifier (FDP), see {@link NvmePlacement}. */
  readonly placement?: number | undefined;
  /** For writes: stream identifier (Streams directive). */
  readonly stream?: number | undefined;
}

/** Dwords of a command that options decide, and the metadata it transfers. */
export interface IoFields {
  /** CDW12 without the number of blocks. */
  readonly control: number;
  readonly cdw2: number;
  readonly cdw3: number;
  readonly cdw13: number;
  readonly cdw14: number;
  readonly cdw15: number;
  /** The controller keeps the metadata from the transfer. */
  readonly strips: boolean;
}

/** What stands for options of plain reads and writes. */
export const PLAIN: IoFields = { control: 0, cdw2: 0, cdw3: 0, cdw13: 0, cdw14: 0, cdw15: 0, strips: false };

/** Commands that transfer nothing have the controller's own action as default, as their zeros need a guard too. */
export type ProtectionDefault = "where alone" | "always" | "never";

/** @throws ArgumentError where an option doesn't fit the namespace */
export function ioFields(
  format: BlockFormat,
  lba: bigint,
  options: Omit<IoOptions, "offset" | "length">,
  byDefault: ProtectionDefault = "where alone",
): IoFields {
  const { fua, limitedRetry, placement, stream } = options;
  let control = (fua === true ? IO_FUA : 0) | (limitedRetry === true ? IO_LIMITED_RETRY : 0);
  let cdw13 = 0;
  if (placement !== undefined && stream !== undefined) {
    throw new ArgumentError("a write has a placement or a stream, not both");
  }
  if (placement !== undefined) {
    control |= DIRECTIVE_PLACEMENT << DIRECTIVE_SHIFT;
    cdw13 = checkInteger("placement", placement, 0, 0xffff) * 0x1_0000;
  } else if (stream !== undefined) {
    control |= DIRECTIVE_STREAMS << DIRECTIVE_SHIFT;
    cdw13 = checkInteger("stream", stream, 1, 0xffff) * 0x1_0000;
  }
  const { protection } = format;
  if (protection === undefined) {
    if (options.protection !== undefined) {
      throw new ArgumentError("this namespace has no end-to-end protection");
    }
    return { ...PLAIN, control, cdw13 };
  }
  let asked = options.protection;
  if (asked === undefined) {
    const acts =
      byDefault === "always" ||
      (byDefault === "where alone" && protection.isWholeMetadata && options.metadata === undefined);
    asked = acts ? { action: true } : { action: false, guard: false, reference: false };
  }
  const words = protectionFields(format, lba, asked);
  return {
    ...words,
    control: control | words.control,
    cdw13,
    strips: asked.action === true && protection.isWholeMetadata,
  };
}

/** PRINFO and the tags. @throws ArgumentError */
function protectionFields(
  { protection }: BlockFormat,
  lba: bigint,
  options: ProtectionOptions,
): Pick<IoFields, "control" | "cdw2" | "cdw3" | "cdw14" | "cdw15"> {
  if (protection === undefined) return PLAIN;
  const { type } = protection.format;
  const bits = BigInt(protection.referenceTagBits);
  const byLba = type === 3 ? 0n : lba & ((1n << bits) - 1n);
  const { applicationTag, storageTag } = options;
  const mask = options.applicationTagMask ?? (applicationTag === undefined ? 0 : 0xffff);
  checkInteger("applicationTag", applicationTag ?? 0, 0, 0xffff);
  checkInteger("applicationTagMask", mask, 0, 0xffff);
  if (type === 3 && options.reference === true) {
    throw new ArgumentError("reference tags are not checked with protection of type 3");
  }
  const { guard = true, reference = type !== 3, storage = storageTag !== undefined } = options;
  const control =
    (options.action === true ? IO_PRACT : 0) |
    (guard ? IO_PRCHK_GUARD : 0) |
    (mask !== 0 ? IO_PRCHK_APP : 0) |
    (reference ? IO_PRCHK_REF : 0) |
    (storage ? IO_STORAGE_CHECK : 0);
  return {
    control,
    ...protection.tagDwords({ referenceTag: options.referenceTag ?? byLba, storageTag }),
    cdw15: mask * 0x1_0000 + (applicationTag ?? 0),
  };
}

/**
 * The metadata of a command, as long as its blocks need it.
 * @throws ArgumentError where it is missing, too short, or has no place in this transfer
 */
export function metadataOf(
  format: BlockFormat,
  strips: boolean,
  blocks: number,
  given: DmaBuffer | CommandData | undefined,
): CommandData | undefined {
  const { metadataBytes, extended, protection } = format;
  if (metadataBytes === 0 || extended || strips) {
    if (given === undefined) return undefined;
    const why =
      metadataBytes === 0
        ? "has none"
        : strips
          ? "keeps it from this transfer (protection.action)"
          : "transfers it behind each block's data";
    throw new ArgumentError(`no metadata can be given here: this namespace ${why}`);
  }
  if (given === undefined) {
    const how = protection?.isWholeMetadata === true ? ", or protection: { action: true }" : "";
    throw new ArgumentError(
      `this namespace transfers ${metadataBytes} bytes of metadata per block: give options.metadata${how}`,
    );
  }
  const data = given instanceof DmaBuffer ? { buffer: given } : given;
  const needed = blocks * metadataBytes;
  const has = dataBytes(data);
  if (!(has >= needed)) {
    throw new ArgumentError(
      `${blocks} blocks have ${needed} bytes of metadata, but there is room for ${has}`,
    );
  }
  return has === needed ? data : cutData(data, 0, needed);
}
