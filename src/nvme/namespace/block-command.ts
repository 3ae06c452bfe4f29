/** Builds the commands on the blocks of one namespace. */
import { checkInteger, checkLength, checkOffset } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { AdminTarget } from "../command/admin-target.js";
import type { NvmeCommand } from "../command/command.js";
import { transferName } from "../command/command-name.js";
import { assertCommandData, type CommandData, dataBytes } from "../command/data-ranges.js";
import { IO_FUA, IO_LIMITED_RETRY } from "../spec/opcodes.js";
import type { BlockFormat } from "./block-format.js";
import {
  type IoOptions,
  ioFields,
  metadataOf,
  PLAIN,
  type ProtectionDefault,
  type ProtectionOptions,
} from "./io-options.js";
import { checkLba, lbaDwords } from "./lba.js";

/** Most blocks of one command: NLB is a zero-based field of 16 bits. */
export const MAX_BLOCKS = 65_536;

/** A command on blocks without a data transfer. */
export interface BlockAction {
  /** For error messages. */
  readonly name: string;
  readonly opcode: number;
  /** Bits of CDW12 besides the number of blocks and the protection. */
  readonly flags?: number;
  readonly protection?: ProtectionOptions | undefined;
  /** When the controller makes the protection information if `protection` is left out. */
  readonly byDefault: ProtectionDefault;
}

/** The commands on the blocks of one namespace: checks their arguments and writes their dwords. Submits nothing. */
export class BlockCommands {
  constructor(
    readonly nsid: number,
    readonly format: BlockFormat,
    private readonly controller: Pick<AdminTarget, "maxTransferBytes">,
  ) {}

  /** Most bytes that one command transfers, data and interleaved metadata: whole blocks. */
  get transferLimitBytes(): number {
    const bytes = this.bytesPerBlock(this.format.protection?.isWholeMetadata === true);
    const limit = Math.min(MAX_BLOCKS * bytes, this.controller.maxTransferBytes);
    return Math.floor(limit / bytes) * bytes;
  }

  /**
   * A command that transfers blocks, e.g. Read.
   * @param flags bits of CDW12 besides those that `options` set
   * @throws ArgumentError if an argument is wrong
   */
  transfer(
    opcode: number,
    lba: bigint | number,
    data: DmaBuffer | CommandData,
    options: IoOptions,
    flags = 0,
    maxBytes = this.controller.maxTransferBytes,
  ): NvmeCommand {
    checkLba("lba", lba);
    const { nsid, format } = this;
    const whole = withRange(data, options);
    const isPlain =
      format.metadataBytes === 0 &&
      options.protection === undefined &&
      options.placement === undefined &&
      options.stream === undefined;
    const fields = isPlain ? PLAIN : ioFields(format, BigInt(lba), options);
    const blocks = this.countBlocks(dataBytes(whole), fields.strips, maxBytes);
    const control = isPlain ? controlBits(options) : fields.control;
    const cdw12 = ((blocks - 1) | control | flags) >>> 0;
    const name = transferName(opcode);
    const { cdw10, cdw11 } = lbaDwords(lba);
    const metadata = metadataOf(format, fields.strips, blocks, options.metadata);
    if (isPlain && options.sgl === undefined) {
      return { name, opcode, nsid, cdw10, cdw11, cdw12, data: whole };
    }
    const { cdw2, cdw3, cdw13, cdw14, cdw15 } = fields;
    const { sgl } = options;
    return {
      ...{ name, opcode, nsid, cdw2, cdw3, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15 },
      ...{ data: whole, metadata, sgl },
    };
  }

  /**
   * A command on a range of blocks that transfers no data, e.g. Write Zeroes.
   * @param blocks 1 to 65536
   * @throws ArgumentError if an argument is wrong
   */
  withoutData(
    { name, opcode, flags = 0, protection, byDefault }: BlockAction,
    lba: bigint | number,
    blocks: number,
  ): NvmeCommand {
    checkLba("lba", lba);
    checkInteger("blocks", blocks, 1, MAX_BLOCKS);
    const { nsid } = this;
    const { control, cdw2, cdw3, cdw14, cdw15 } = ioFields(
      this.format,
      BigInt(lba),
      { protection },
      byDefault,
    );
    const { cdw10, cdw11 } = lbaDwords(lba);
    const cdw12 = ((blocks - 1) | flags | control) >>> 0;
    return { name, opcode, nsid, cdw2, cdw3, cdw10, cdw11, cdw12, cdw14, cdw15 };
  }

  /** Blocks in `length` bytes of data. @throws ArgumentError if `length` isn't a multiple of the block size, or too long for one command */
  private countBlocks(length: number, strips: boolean, maxBytes: number): number {
    const perBlock = this.bytesPerBlock(strips);
    if (!(length % perBlock === 0)) {
      throw new ArgumentError(
        `length ${length} is not a multiple of the block size ${perBlock}${perBlock > this.format.blockSizeBytes ? " (with metadata)" : ""}`,
      );
    }
    const blocks = length / perBlock;
    if (blocks > MAX_BLOCKS || length > maxBytes) {
      const limit = Math.min(MAX_BLOCKS * perBlock, maxBytes);
      throw new ArgumentError(`length ${length} is more than one command can carry (${limit} bytes)`);
    }
    return blocks;
  }

  /** Bytes per block in the data buffer. @param strips the controller strips the metadata */
  private bytesPerBlock(strips: boolean): number {
    const { blockSizeBytes, metadataBytes, extended } = this.format;
    return blockSizeBytes + (extended && !strips ? metadataBytes : 0);
  }
}

/** CDW12 of a command whose options set FUA and LR only. */
export function controlBits(options: IoOptions): number {
  return (options.fua === true ? IO_FUA : 0) | (options.limitedRetry === true ? IO_LIMITED_RETRY : 0);
}

/** Number of blocks (NLB) of a command. */
export function blocksOf({ cdw12 = 0 }: NvmeCommand): number {
  return (cdw12 & 0xffff) + 1;
}

/** The range of a buffer that the options select; a list stays unchanged. @throws ArgumentError */
function withRange(data: DmaBuffer | CommandData, options: IoOptions): CommandData {
  if (!(data instanceof DmaBuffer)) {
    assertCommandData(data);
    if (options.offset !== undefined || options.length !== undefined) {
      throw new ArgumentError("offset and length can't be combined with a list of ranges, which has its own");
    }
    return data;
  }
  const offset = checkOffset("offset", options.offset ?? 0);
  const length = checkLength("length", options.length ?? data.sizeBytes - offset);
  return { buffer: data, offset, length };
}
