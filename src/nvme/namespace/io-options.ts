/** Options of commands that transfer blocks, and the command dwords that follow from them. */
import { isUint8Array } from "node:util/types";
import { checkInteger, checkKeys } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { IoCommandOptions } from "../command/command-options.js";
import { type CommandData, cutData, dataBytes } from "../command/data-ranges.js";
import type { SglOptions } from "../command/sgl.js";
import { type ProtectionChecks, protectionChecks } from "../protection/information.js";
import { DirectiveType } from "../spec/directives.js";
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

/** End-to-end protection of one command: {@link ProtectionChecks} with other defaults. */
export interface ProtectionOptions extends ProtectionChecks {
  /**
   * Protection Information Action (PRACT): the controller generates the information on writes. If the metadata consists of
   * the information only, the controller also strips it on reads, and no metadata is transferred. False by default: the
   * metadata carries the information.
   */
  readonly action?: boolean | undefined;
  /** Reference tag of the first block; by default the low bits of its LBA, with type 3 zero. */
  readonly referenceTag?: bigint | undefined;
  /** Whether the reference tag is checked; by default with types 1 and 2. */
  readonly reference?: boolean | undefined;
}

/** Options of {@link NvmeNamespace.read}, {@link NvmeNamespace.write} and similar methods. */
export interface IoOptions extends IoCommandOptions {
  /** Offset of the first byte in the buffer, a multiple of 4; 0 by default. Not with a list of ranges. */
  readonly offset?: number | undefined;
  /** Length in bytes, a multiple of the block size; to the end of the buffer by default. Not with a list of ranges. */
  readonly length?: number | undefined;
  /** Force Unit Access: bypasses the volatile write cache. */
  readonly fua?: boolean | undefined;
  /** The controller should limit its retries on errors. */
  readonly limitedRetry?: boolean | undefined;
  /**
   * Memory of the blocks' metadata, on a namespace that transfers it separately. The metadata starts at its first byte. A DMA buffer
   * where the data is one; otherwise bytes anywhere.
   */
  readonly metadata?: DmaBuffer | CommandData | Uint8Array | undefined;
  /**
   * End-to-end protection, on a namespace that has it. By default, without `metadata`, the controller generates and checks
   * the information if the metadata consists of it only.
   */
  readonly protection?: ProtectionOptions | undefined;
  /** Uses SGLs even if PRPs suffice; options say how the SGL is split into segments. */
  readonly sgl?: boolean | SglOptions | undefined;
  /** For writes: placement identifier (FDP), see `NvmePlacement`. */
  readonly placement?: number | undefined;
  /** For writes: stream identifier (Streams directive). */
  readonly stream?: number | undefined;
}

/** The names of {@link IoOptions}. */
export const ioOptions: readonly (keyof IoOptions)[] = [
  "timeoutMs",
  "signal",
  "queue",
  "offset",
  "length",
  "fua",
  "limitedRetry",
  "metadata",
  "protection",
  "sgl",
  "placement",
  "stream",
];

const protectionOptions: readonly (keyof ProtectionOptions)[] = [...protectionChecks, "action"];

/** Dwords of a command that follow from its options. */
export interface IoFields {
  /** CDW12 without the number of blocks. */
  readonly control: number;
  readonly cdw2: number;
  readonly cdw3: number;
  readonly cdw13: number;
  readonly cdw14: number;
  readonly cdw15: number;
  /** The controller strips the metadata: none is transferred. */
  readonly strips: boolean;
}

/** The fields of a read or write without options. */
export const PLAIN: IoFields = { control: 0, cdw2: 0, cdw3: 0, cdw13: 0, cdw14: 0, cdw15: 0, strips: false };

/**
 * When PRACT is the default. Commands without a data transfer always use it, because the blocks of zeros that they write
 * need a guard too.
 */
export type ProtectionDefault = "where alone" | "always" | "never";

/** Translates options to dwords of the command. @throws ArgumentError if an option doesn't fit the namespace */
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
    throw new ArgumentError("options.placement and options.stream can't be combined");
  }
  if (placement !== undefined) {
    control |= DirectiveType.dataPlacement << DIRECTIVE_SHIFT;
    cdw13 = checkInteger("placement", placement, 0, 0xffff) * 0x1_0000;
  } else if (stream !== undefined) {
    control |= DirectiveType.streams << DIRECTIVE_SHIFT;
    cdw13 = checkInteger("stream", stream, 1, 0xffff) * 0x1_0000;
  }
  if (options.protection !== undefined) checkKeys("protection", options.protection, protectionOptions);
  const { protection } = format;
  if (protection === undefined) {
    if (options.protection !== undefined) {
      throw new ArgumentError(
        "this namespace doesn't have end-to-end protection; leave out options.protection",
      );
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

/** PRINFO and the tags. @throws ArgumentError if a tag doesn't fit */
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
    throw new ArgumentError(
      "protection.reference can't be true with protection type 3, which has no reference tag check",
    );
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
 * The metadata buffer of a command, cut to the size that its blocks need.
 * @throws ArgumentError if it is missing or too short, or the command transfers no separate metadata
 */
export function metadataOf(
  format: BlockFormat,
  strips: boolean,
  blocks: number,
  given: DmaBuffer | CommandData | Uint8Array | undefined,
): CommandData | undefined {
  const needed = metadataLength(format, strips, blocks, given);
  if (given === undefined || needed === 0) return undefined;
  if (isUint8Array(given)) {
    throw new ArgumentError(
      "options.metadata must be a DmaBuffer where the data is in DMA buffers: use dma.alloc(), or bytes for both",
    );
  }
  const data = given instanceof DmaBuffer ? { buffer: given } : given;
  const has = dataBytes(data);
  assertMetadataLength(has, needed, blocks);
  return has === needed ? data : cutData(data, 0, needed);
}

/**
 * Bytes of separate metadata that a command of so many blocks transfers; 0: none.
 * @param given what the caller passes for it
 * @throws ArgumentError if it is missing, or the command transfers no separate metadata
 */
export function metadataLength(format: BlockFormat, strips: boolean, blocks: number, given: unknown): number {
  const { metadataBytes, extended, protection } = format;
  if (metadataBytes === 0 || extended || strips) {
    if (given === undefined) return 0;
    const why =
      metadataBytes === 0
        ? "doesn't have metadata"
        : strips
          ? "strips it from this transfer (protection.action)"
          : "interleaves it with the data";
    throw new ArgumentError(`leave out options.metadata: this namespace ${why}`);
  }
  if (given === undefined) {
    const how = protection?.isWholeMetadata === true ? ", or protection: { action: true }" : "";
    throw new ArgumentError(
      `this namespace transfers ${metadataBytes} bytes of metadata per block: pass options.metadata${how}`,
    );
  }
  return blocks * metadataBytes;
}

/** @throws ArgumentError if the metadata is too short */
export function assertMetadataLength(has: number, needed: number, blocks: number): void {
  if (!(has >= needed)) {
    throw new ArgumentError(
      `options.metadata is too short: ${blocks} blocks need ${needed} bytes, it has ${has}`,
    );
  }
}
