import type { DmaBuffer } from "../dma/buffer.js";
import { checkInteger, checkLength, checkOffset, checkU64 } from "../sys/check.js";
import { ArgumentError, UnsupportedError } from "../sys/errors.js";
import type { NvmeCommand, NvmeCompletion } from "./command.js";
import { currentLbaFormat, type IdentifyNamespace } from "./spec/identify.js";
import { IO_FUA, IO_LIMITED_RETRY, IoOpcode } from "./spec/opcodes.js";

/** Options of {@link NvmeNamespace.read} and {@link NvmeNamespace.write}. */
export interface IoOptions {
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
  submitIo(command: NvmeCommand): Promise<NvmeCompletion>;
  readonly maxTransferBytes: number;
}

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
    return this.controller.submitIo({
      name: opcode === IoOpcode.read ? "read" : "write",
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
    });
  }
}
