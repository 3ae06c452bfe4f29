import type { DmaBuffer } from "../dma/buffer.js";
import type { DmaSpace } from "../dma/space.js";
import { checkInteger, checkLength, checkOffset, checkU64 } from "../sys/check.js";
import { ArgumentError, UnsupportedError } from "../sys/errors.js";
import type { NvmeCommand, NvmeCompletion } from "./command.js";
import type { IoCommandOptions } from "./command-options.js";
import { NvmeError } from "./error.js";
import { currentLbaFormat, type IdentifyController, type IdentifyNamespace } from "./spec/identify.js";
import { IO_DEAC, IO_FUA, IO_LIMITED_RETRY, IoOpcode } from "./spec/opcodes.js";

/** Options of {@link NvmeNamespace.read} and {@link NvmeNamespace.write}. */
export interface IoOptions extends IoCommandOptions {
  /** First byte in the buffer, multiple of 4; 0 by default. */
  readonly offset?: number | undefined;
  /** Bytes, multiple of the block size; to the buffer's end by default. */
  readonly length?: number | undefined;
  /** Force Unit Access: past any volatile cache. */
  readonly fua?: boolean | undefined;
  /** The controller should give up early on a read or write that needs retries. */
  readonly limitedRetry?: boolean | undefined;
}

/** What a namespace needs of its controller. */
interface CommandTarget {
  submitIo(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion>;
  readonly maxTransferBytes: number;
  readonly identify: IdentifyController;
  readonly dma: DmaSpace;
  readonly bdf: string;
}

/** A range of logical blocks. */
export interface BlockRange {
  readonly lba: bigint;
  readonly blocks: number;
}

/** Optional NVM commands: bits of Identify Controller, ONCS. */
const optionalCommands = {
  Compare: 1 << 0,
  "Write Uncorrectable": 1 << 1,
  "Dataset Management": 1 << 2,
  "Write Zeroes": 1 << 3,
  Verify: 1 << 7,
} as const;

/** Ranges of one Dataset Management command, 16 bytes each. */
const MAX_RANGES = 256;
const RANGE_BYTES = 16;
/** Dataset Management, CDW11: deallocate. */
const DSM_DEALLOCATE = 1 << 2;

const transferNames: Readonly<Record<number, string>> = {
  [IoOpcode.read]: "read",
  [IoOpcode.write]: "write",
  [IoOpcode.compare]: "compare",
};

/** Status by name: {@link NvmeError.status}. */
const COMPARE_FAILURE = "Compare Failure";

/** NLB is a 16-bit field, zero-based. */
const MAX_BLOCKS = 65536;
const BROADCAST_NSID = 0xffff_ffff;

/** A namespace: a range of logical blocks. */
export class NvmeNamespace {
  /** Bytes per logical block. */
  readonly blockSizeBytes: number;
  /** Number of logical blocks (NSZE). */
  readonly sizeBlocks: bigint;

  private constructor(
    private readonly controller: CommandTarget,
    readonly nsid: number,
    /** Identify Namespace, as read when this object was made. */
    readonly identify: IdentifyNamespace,
    blockSizeBytes: number,
  ) {
    this.blockSizeBytes = blockSizeBytes;
    this.sizeBlocks = identify.nsze;
  }

  /** @throws ArgumentError where this can't be the id of one namespace */
  static checkId(nsid: number): void {
    checkInteger("nsid", nsid, 1, BROADCAST_NSID - 1);
  }

  /** See {@link NvmeController.namespace}. */
  static of(controller: CommandTarget, nsid: number, identify: IdentifyNamespace): NvmeNamespace {
    // For an id that is valid but not active the controller returns zeros.
    if (identify.nsze === 0n) throw new ArgumentError(`there is no active namespace ${nsid}`);
    const { blockSizeBytes, metadataBytes } = currentLbaFormat(identify);
    if (blockSizeBytes === 0) throw new UnsupportedError(`namespace ${nsid} has no usable LBA format`);
    if (metadataBytes > 0) {
      throw new UnsupportedError(`namespace ${nsid} carries ${metadataBytes} bytes of metadata per block`);
    }
    return new NvmeNamespace(controller, nsid, identify, blockSizeBytes);
  }

  /**
   * Reads blocks into a buffer of the controller's DMA space.
   * @param lba first logical block
   * @throws ArgumentError (length 0, no multiple of the block size, beyond MDTS or the buffer; foreign buffer),
   *   ClosedError, NvmeError (the controller's own status: LBA Out of Range, ...), TimeoutError, DeviceGoneError
   */
  async read(lba: bigint, buffer: DmaBuffer, options: IoOptions = {}): Promise<void> {
    await this.transfer(IoOpcode.read, lba, buffer, options);
  }

  /** Writes blocks from a buffer of the controller's DMA space. @throws as read() */
  async write(lba: bigint, buffer: DmaBuffer, options: IoOptions = {}): Promise<void> {
    await this.transfer(IoOpcode.write, lba, buffer, options);
  }

  /** Commits what was written to the medium. @throws NvmeError, TimeoutError, DeviceGoneError, ClosedError */
  async flush(): Promise<void> {
    await this.controller.submitIo({
      name: `flush of namespace ${this.nsid}`,
      opcode: IoOpcode.flush,
      nsid: this.nsid,
    });
  }

  /**
   * Compares blocks with a buffer, without transferring them.
   * @returns whether all bytes are the same
   * @throws as read(), and UnsupportedError where the controller has no Compare
   */
  async compare(lba: bigint, buffer: DmaBuffer, options: IoOptions = {}): Promise<boolean> {
    this.assertOptional("Compare");
    try {
      await this.transfer(IoOpcode.compare, lba, buffer, options);
      return true;
    } catch (error) {
      if (error instanceof NvmeError && error.status === COMPARE_FAILURE) return false;
      throw error;
    }
  }

  /**
   * Sets blocks to zero without a transfer.
   * @param blocks 1 to 65536
   * @param options deallocate: the controller may forget them instead, if they then read as zero
   * @throws ArgumentError, UnsupportedError where the controller has no Write Zeroes, NvmeError, TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async writeZeroes(
    lba: bigint,
    blocks: number,
    options: { readonly deallocate?: boolean; readonly fua?: boolean } = {},
  ): Promise<void> {
    this.assertOptional("Write Zeroes");
    const flags = (options.deallocate === true ? IO_DEAC : 0) | (options.fua === true ? IO_FUA : 0);
    await this.onBlocks("write zeroes", IoOpcode.writeZeroes, lba, blocks, flags);
  }

  /** Reads blocks on the medium and checks them, without a transfer. @throws as writeZeroes() */
  async verify(lba: bigint, blocks: number): Promise<void> {
    this.assertOptional("Verify");
    await this.onBlocks("verify", IoOpcode.verify, lba, blocks, 0);
  }

  /** Makes blocks fail to be read, until they are written again: for tests. @throws as writeZeroes() */
  async writeUncorrectable(lba: bigint, blocks: number): Promise<void> {
    this.assertOptional("Write Uncorrectable");
    await this.onBlocks("write uncorrectable", IoOpcode.writeUncorrectable, lba, blocks, 0);
  }

  /**
   * Dataset Management, Deallocate (trim): the controller may forget what is in these ranges.
   * @param ranges 1 to 256
   * @throws as writeZeroes()
   */
  async deallocate(ranges: readonly BlockRange[]): Promise<void> {
    this.assertOptional("Dataset Management");
    checkInteger("ranges.length", ranges.length, 1, MAX_RANGES);
    const { dma } = this.controller;
    const buffer = dma.alloc(ranges.length * RANGE_BYTES);
    try {
      const { bytes } = buffer;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (const [i, { lba, blocks }] of ranges.entries()) {
        view.setUint32(i * RANGE_BYTES + 4, checkInteger("blocks", blocks, 1, 0xffff_ffff), true);
        view.setBigUint64(i * RANGE_BYTES + 8, checkU64("lba", lba), true);
      }
      await this.controller.submitIo({
        name: "dataset management",
        opcode: IoOpcode.datasetManagement,
        nsid: this.nsid,
        cdw10: ranges.length - 1,
        cdw11: DSM_DEALLOCATE,
        data: { buffer },
      });
    } finally {
      buffer.close();
    }
  }

  private assertOptional(name: keyof typeof optionalCommands): void {
    const { bdf, identify } = this.controller;
    if ((identify.oncs & optionalCommands[name]) === 0) {
      throw new UnsupportedError(`the controller ${bdf} has no ${name} command (ONCS)`);
    }
  }

  /** A command on a range of blocks that carries no data. */
  private async onBlocks(
    name: string,
    opcode: number,
    lba: bigint,
    blocks: number,
    flags: number,
  ): Promise<void> {
    checkU64("lba", lba);
    checkInteger("blocks", blocks, 1, MAX_BLOCKS);
    await this.controller.submitIo({
      name,
      opcode,
      nsid: this.nsid,
      cdw10: Number(lba & 0xffff_ffffn),
      cdw11: Number(lba >> 32n),
      cdw12: ((blocks - 1) | flags) >>> 0,
    });
  }

  private transfer(
    opcode: number,
    lba: bigint,
    buffer: DmaBuffer,
    options: IoOptions,
  ): Promise<NvmeCompletion> {
    checkU64("lba", lba);
    const offset = checkOffset("offset", options.offset ?? 0);
    const length = checkLength("length", options.length ?? buffer.sizeBytes - offset);
    const { blockSizeBytes } = this;
    if (length % blockSizeBytes !== 0) {
      throw new ArgumentError(`length ${length} is not a multiple of the block size ${blockSizeBytes}`);
    }
    const blocks = length / blockSizeBytes;
    if (blocks > MAX_BLOCKS || length > this.controller.maxTransferBytes) {
      const limit = Math.min(MAX_BLOCKS * blockSizeBytes, this.controller.maxTransferBytes);
      throw new ArgumentError(`length ${length} is more than one command can carry here (${limit} bytes)`);
    }
    const command: NvmeCommand = {
      name: transferNames[opcode] ?? "transfer",
      opcode,
      nsid: this.nsid,
      cdw10: Number(lba & 0xffff_ffffn),
      cdw11: Number(lba >> 32n),
      cdw12:
        ((blocks - 1) |
          (options.fua === true ? IO_FUA : 0) |
          (options.limitedRetry === true ? IO_LIMITED_RETRY : 0)) >>>
        0,
      data: { buffer, offset, length },
    };
    return this.controller.submitIo(command, options);
  }
}
