/** A namespace: reads, writes and all other commands on its logical blocks. */
import { checkKeys, checkLength } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { NvmeCompletion } from "../command/command.js";
import type { CommandData } from "../command/data-ranges.js";
import type { LbaStatusList } from "../command/lba-status.js";
import type { ProtectionInformation } from "../protection/information.js";
import { assertNoQuirk } from "../quirks/quirks.js";
import type { IdentifyNamespace } from "../spec/identify.js";
import { BROADCAST_NSID, IO_DEAC, IO_FUA, IoOpcode } from "../spec/opcodes.js";
import { type BatchCommand, type BatchOptions, type NvmeBatch, prepareBatch } from "./batch.js";
import { type BlockAction, BlockCommands, controlBits, MAX_BLOCKS } from "./block-command.js";
import { type CommandTarget, ioWrite } from "./command-target.js";
import { type CompareAndWriteOptions, compareAndWrite, isEqual } from "./compare.js";
import { type CopyOptions, copyCommand } from "./copy.js";
import {
  type BlockRange,
  type CopyRange,
  type DatasetAttributes,
  type DatasetRange,
  datasetAttributes,
  encodeDatasetRanges,
} from "./dataset.js";
import { NvmeFile } from "./file.js";
import { type IdentifiedBlocks, identifyBlocks } from "./identify-blocks.js";
import { type IoOptions, ioOptions, type ProtectionOptions } from "./io-options.js";
import { type LbaStatusOptions, readLbaStatus } from "./lba-status.js";
import { assertOptional, deallocatesInstead, stripeBlocks } from "./optional-commands.js";
import { NvmePlacement } from "./placement.js";
import { type BlockData, isPlainBytes } from "./plain-bytes.js";
import { NvmeReservations } from "./reservations.js";
import {
  openReadStream,
  openWriteStream,
  type ReadStreamOptions,
  type WriteStreamOptions,
} from "./streams.js";
import {
  type ChunkOptions,
  type Mover,
  type NvmeChunk,
  type RangeOptions,
  readChunks,
  transferBytes,
  transferRange,
} from "./transfers.js";

/** VWC bits 2:1: Flush accepts the broadcast id. */
const VWC_BROADCAST = 3;

const NO_OPTIONS: IoOptions = Object.freeze({});

const nothing = (): void => {};

/** A namespace: a range of logical blocks. */
export class NvmeNamespace {
  /** Bytes per logical block, without metadata. */
  readonly blockSizeBytes: number;
  /** Metadata bytes per block; 0: none. */
  readonly metadataBytes: number;
  /** Whether metadata is transferred behind each block's data instead of separately. */
  readonly extendedMetadata: boolean;
  /** Number of logical blocks (NSZE). */
  readonly sizeBlocks: bigint;
  /** Identify Namespace, as read when this object was made. */
  readonly identify: IdentifyNamespace;
  /**
   * Builds the commands on this namespace's blocks.
   * @internal
   */
  protected readonly commands: BlockCommands;

  /** @internal Use {@link NvmeController.namespace}. */
  protected constructor(
    /**
     * The controller.
     * @internal
     */
    protected readonly controller: CommandTarget,
    /** Namespace identifier (NSID). */
    readonly nsid: number,
    { identify, format }: IdentifiedBlocks,
  ) {
    this.identify = identify;
    this.commands = new BlockCommands(nsid, format, controller);
    this.blockSizeBytes = format.blockSizeBytes;
    this.metadataBytes = format.metadataBytes;
    this.extendedMetadata = format.extended;
    this.sizeBlocks = identify.nsze;
  }

  /** @internal Use {@link NvmeController.namespace}. */
  static async open(controller: CommandTarget, nsid: number): Promise<NvmeNamespace> {
    return new NvmeNamespace(controller, nsid, await identifyBlocks(controller, nsid));
  }

  // The path of a read or write:
  //   1. read(), write()       name the opcode
  //   2. execute()             turns errors into rejections, and chooses one of two paths
  //   3. submitPlain()         one contiguous buffer and no special options: checks the arguments, makes no object
  //      controller.transferIo()   chooses the queue pair
  //      QueuePair.transfer()      writes the 64-byte entry with its PRPs, and posts it
  //   4. submit()              everything else: BlockCommands.transfer() checks the arguments and builds an NvmeCommand
  //      controller.submitIo()     checks data pointers and chooses the queue pair
  //      QueuePair.submit()        writes the entry with PRPs or SGLs, and posts it
  // Both paths end with the completion: QueuePair.reap() settles the promise.

  /**
   * Reads blocks into a buffer of the controller's DMA space, or into a list of ranges and bit buckets: one command, without a copy.
   * Other bytes (a Buffer, a Uint8Array, an array of them) are filled from a bounce buffer, in one command if that carries them.
   * They stay as they are if the read fails.
   * @param lba first logical block; a number must be a safe integer
   * @throws ArgumentError (length 0, no multiple of the block size, beyond MDTS or the buffer; foreign buffer; ranges that
   *   this controller can't name; options that don't fit the format), ClosedError, NvmeError (the controller's own status:
   *   LBA Out of Range, End-to-end Guard Check Error, ...), TimeoutError, DeviceGoneError
   */
  read(lba: bigint | number, target: BlockData, options?: IoOptions): Promise<void>;
  /**
   * Reads `sizeBytes` of blocks, with interleaved metadata if the namespace has that.
   * @param sizeBytes a multiple of the block size; also more than one command carries
   * @throws as above
   */
  read(lba: bigint | number, sizeBytes: number, options?: IoOptions): Promise<Buffer>;
  read(
    lba: bigint | number,
    target: BlockData | number,
    options: IoOptions = NO_OPTIONS,
  ): Promise<Buffer> | Promise<void> {
    if (typeof target === "number") return this.readBuffer(lba, target, options);
    return this.execute(IoOpcode.read, lba, target, options);
  }

  /**
   * Writes blocks from a buffer of the controller's DMA space, or from a list of ranges: one command, without a copy. Other bytes are
   * copied to a bounce buffer; don't change them until the promise settles. They go in one command if that carries them.
   * @throws as read()
   */
  write(lba: bigint | number, source: BlockData, options: IoOptions = NO_OPTIONS): Promise<void> {
    return this.execute(IoOpcode.write, lba, source, options);
  }

  private async readBuffer(lba: bigint | number, sizeBytes: number, options: IoOptions): Promise<Buffer> {
    checkLength("sizeBytes", sizeBytes);
    const most = this.sizeBlocks * BigInt(this.blockSizeBytes + this.metadataBytes);
    if (sizeBytes > most)
      throw new ArgumentError(`sizeBytes ${sizeBytes} is more than the namespace has (${most})`);
    const buffer = bufferOf(sizeBytes);
    await this.execute(IoOpcode.read, lba, buffer, options);
    return buffer;
  }

  /** Not async, because a promise that only waits for another one doubles the cost. */
  private execute(opcode: number, lba: bigint | number, data: BlockData, options: IoOptions): Promise<void> {
    try {
      if (options !== NO_OPTIONS) checkKeys("options", options, ioOptions);
      if (isPlainBytes(data)) return transferBytes(this.mover(opcode), lba, data, options);
      return (
        this.submitPlain(opcode, lba, data, options) ?? this.submit(opcode, lba, data, options).then(nothing)
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Submits the most frequent kind of read and write: one contiguous buffer, and no options but place, queue and control
   * bits.
   * @returns undefined if the transfer is of another kind or an argument is wrong. Nothing is submitted then, and submit()
   *   throws the error
   */
  private submitPlain(
    opcode: number,
    given: bigint | number,
    buffer: DmaBuffer | CommandData,
    options: IoOptions,
  ): Promise<void> | undefined {
    if (!(buffer instanceof DmaBuffer) || this.metadataBytes !== 0 || !isPlain(options)) return undefined;
    const { controller } = this;
    const { offset = 0 } = options;
    if (typeof offset !== "number") return undefined;
    const { length = buffer.sizeBytes - offset } = options;
    const blocks = length / this.blockSizeBytes;
    // Splitting a bigint makes two more bigints, and nearly every LBA is exact as a number.
    const lba = typeof given === "bigint" ? Number(given) : given;
    if (
      !Number.isSafeInteger(lba) ||
      lba < 0 ||
      !Number.isSafeInteger(offset) ||
      offset < 0 ||
      offset % 4 !== 0 ||
      !Number.isSafeInteger(blocks) ||
      blocks < 1 ||
      blocks > MAX_BLOCKS ||
      offset + length > buffer.sizeBytes ||
      length > controller.maxTransferBytes ||
      buffer.space !== controller.dma ||
      !buffer.contiguous
    ) {
      return undefined;
    }
    const cdw12 = ((blocks - 1) | controlBits(options)) >>> 0;
    return controller.transferIo(opcode, this.nsid, lba, cdw12, buffer, offset, length, options.queue);
  }

  /** Submits a command that transfers blocks. @throws as read(), at once or as a rejection */
  private submit(
    opcode: number,
    lba: bigint | number,
    data: DmaBuffer | CommandData,
    options: IoOptions,
  ): Promise<NvmeCompletion> {
    return this.controller.submitIo(this.commands.transfer(opcode, lba, data, options), options);
  }

  /**
   * Commits written blocks to the medium.
   * @param options allNamespaces: flushes all namespaces of the controller, not only this one
   * @throws UnsupportedError if the controller has no Flush of all namespaces, NvmeError, TimeoutError, DeviceGoneError,
   *   ClosedError
   */
  async flush(options: { readonly allNamespaces?: boolean } = {}): Promise<void> {
    checkKeys("options", options, ["allNamespaces"]);
    const all = options.allNamespaces === true;
    const { bdf, identify } = this.controller;
    if (all && ((identify.vwc >> 1) & 3) !== VWC_BROADCAST) {
      throw new UnsupportedError(`the controller ${bdf} has no Flush of all namespaces (VWC)`);
    }
    await this.controller.submitIo({
      name: all ? "flush of all namespaces" : `flush of namespace ${this.nsid}`,
      opcode: IoOpcode.flush,
      nsid: all ? BROADCAST_NSID : this.nsid,
    });
  }

  /**
   * Compares blocks with a buffer or other bytes. The controller compares them; no block is transferred to the host.
   * @returns whether all bytes are the same
   * @throws as read(), and UnsupportedError if the controller has no Compare
   */
  async compare(lba: bigint | number, source: BlockData, options: IoOptions = {}): Promise<boolean> {
    checkKeys("options", options, ioOptions);
    assertOptional(this.controller, "Compare");
    return await isEqual(
      isPlainBytes(source)
        ? transferBytes(this.mover(IoOpcode.compare), lba, source, options)
        : this.submit(IoOpcode.compare, lba, source, options),
    );
  }

  /**
   * Compares blocks and, if they are as expected, writes them. No other command comes between, because Compare and Write are
   * one fused operation.
   * @param replacement as long as `expected`
   * @returns whether the blocks were written
   * @throws as read(), and UnsupportedError if the controller has no fused Compare and Write (FUSES)
   */
  async compareAndWrite(
    lba: bigint | number,
    expected: BlockData,
    replacement: BlockData,
    options: CompareAndWriteOptions = {},
  ): Promise<boolean> {
    return await compareAndWrite(this.controller, this.commands, lba, expected, replacement, options);
  }

  /**
   * Sets blocks to zero without a data transfer.
   * @param blocks 1 to 65536
   * @param options deallocate: the controller may deallocate the blocks if they read as zeros afterwards; protection: by
   *   default the controller generates it
   * @throws ArgumentError, UnsupportedError if the controller has no such command (ONCS), NvmeError, TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async writeZeroes(
    lba: bigint | number,
    blocks: number,
    options: {
      readonly deallocate?: boolean;
      readonly fua?: boolean;
      readonly protection?: ProtectionOptions | undefined;
    } = {},
  ): Promise<void> {
    checkKeys("options", options, ["deallocate", "fua", "protection"]);
    assertNoQuirk(this.controller, "no-write-zeroes", "Write Zeroes");
    if (options.protection === undefined && this.metadataBytes === 0 && deallocatesInstead(this.controller)) {
      await this.deallocate([{ lba, blocks }]);
      return;
    }
    assertOptional(this.controller, "Write Zeroes");
    await this.onBlocks(lba, blocks, {
      name: "write zeroes",
      opcode: IoOpcode.writeZeroes,
      flags: (options.deallocate === true ? IO_DEAC : 0) | (options.fua === true ? IO_FUA : 0),
      protection: options.protection,
      byDefault: "always",
    });
  }

  /**
   * Checks that blocks can be read from the medium, without a data transfer.
   * @param protection checks of the protection information; none by default
   * @throws as writeZeroes()
   */
  async verify(lba: bigint | number, blocks: number, protection?: ProtectionOptions): Promise<void> {
    assertOptional(this.controller, "Verify");
    await this.onBlocks(lba, blocks, {
      name: "verify",
      opcode: IoOpcode.verify,
      protection,
      byDefault: "never",
    });
  }

  /** Makes reads of these blocks fail until the blocks are written again. For tests. @throws as writeZeroes() */
  async writeUncorrectable(lba: bigint | number, blocks: number): Promise<void> {
    assertOptional(this.controller, "Write Uncorrectable");
    const opcode = IoOpcode.writeUncorrectable;
    await this.onBlocks(lba, blocks, { name: "write uncorrectable", opcode, byDefault: "never" });
  }

  /**
   * Dataset Management with Deallocate (trim): the content of these ranges is lost.
   * @param ranges 1 to 256
   * @throws as writeZeroes()
   */
  async deallocate(ranges: readonly BlockRange[]): Promise<void> {
    await this.datasetManagement(ranges, { deallocate: true });
  }

  /**
   * Dataset Management with any attributes, and hints per range.
   * @param ranges 1 to 256
   * @throws as writeZeroes()
   */
  async datasetManagement(ranges: readonly DatasetRange[], attributes: DatasetAttributes): Promise<void> {
    assertOptional(this.controller, "Dataset Management");
    const cdw11 = datasetAttributes(attributes);
    const bytes = encodeDatasetRanges(ranges);
    const command = {
      name: "dataset management",
      opcode: IoOpcode.datasetManagement,
      nsid: this.nsid,
      cdw10: ranges.length - 1,
      cdw11,
    };
    await ioWrite(this.controller, command, bytes);
  }

  /**
   * Copies blocks to this namespace, one range after the other, without a data transfer (Simple Copy). They come from this
   * namespace, or from the one that a range names.
   * @param to first logical block of the destination
   * @throws ArgumentError, also if the namespace allows less (MSRC, MSSRL, MCL); UnsupportedError if the
   *   controller lacks Copy or this descriptor format; NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async copy(to: bigint | number, ranges: readonly CopyRange[], options: CopyOptions = {}): Promise<void> {
    assertOptional(this.controller, "Copy");
    const { controller, nsid, identify } = this;
    const { format } = this.commands;
    const { command, bytes } = copyCommand(controller, { nsid, identify, format }, to, ranges, options);
    await ioWrite(controller, command, bytes);
  }

  /**
   * Get LBA Status: blocks that may be unreadable, or that are allocated.
   * @param options action: `tracked` (default) returns what the controller knows, `scan` looks for more, `allocated` returns
   *   allocated blocks; blocks: how many from `lba` on, to the end by default; most: descriptors that are transferred, 255 by default
   * @throws ArgumentError, UnsupportedError (OACS), NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async lbaStatus(lba: bigint | number, options: LbaStatusOptions = {}): Promise<LbaStatusList> {
    return await readLbaStatus(this.controller, this.nsid, lba, options);
  }

  /**
   * Reads any number of blocks into a buffer, a list of ranges or other bytes: splits them into commands, a few of which are outstanding
   * at a time.
   * @throws as read(), or the signal's reason; rejects when all outstanding commands have completed
   */
  async readRange(lba: bigint | number, target: BlockData, options: RangeOptions = {}): Promise<void> {
    await transferRange(this.mover(IoOpcode.read), lba, target, options);
  }

  /** Writes any number of blocks in the same way, in no particular order. @throws as readRange() */
  async writeRange(lba: bigint | number, source: BlockData, options: RangeOptions = {}): Promise<void> {
    await transferRange(this.mover(IoOpcode.write), lba, source, options);
  }

  /**
   * Yields blocks in order, in pieces, and reads ahead. The bytes of a piece are valid until the next piece is requested.
   * @throws as readRange()
   */
  chunks(
    lba: bigint | number,
    blocks: bigint | number,
    options: ChunkOptions = {},
  ): AsyncGenerator<NvmeChunk, void, void> {
    return readChunks(this.mover(IoOpcode.read), lba, blocks, options);
  }

  /**
   * A stream of the bytes of blocks; to the end of the namespace by default. A destroyed stream frees its buffers when the
   * outstanding commands have completed.
   */
  createReadStream(options: ReadStreamOptions = {}): ReturnType<typeof openReadStream> {
    return openReadStream(this, options);
  }

  /** A stream that writes its bytes from a block on. It emits `finish` when all bytes are written. */
  createWriteStream(options: WriteStreamOptions = {}): ReturnType<typeof openWriteStream> {
    return openWriteStream(this, this.controller.dma, this.transferLimitBytes, options);
  }

  /**
   * The namespace as a file of bytes, for code that takes a `FileHandle`. Each has its own position and its own order of operations.
   * @throws UnsupportedError if blocks carry metadata, or must be written in order (zones)
   */
  openFile(): NvmeFile {
    if (this.metadataBytes > 0 && this.protection?.isWholeMetadata !== true)
      throw new UnsupportedError(`namespace ${this.nsid} has metadata, which a file has no place for`);
    return new NvmeFile(this);
  }

  /**
   * Prepares commands that are submitted together, as often as wanted: the fastest way to do I/O but the rings.
   * @param commands each reads, writes or compares DMA buffers; a device can't reach a Buffer, and a batch makes no copies
   * @throws as read(), for any of them, and UnsupportedError if the controller has no Compare
   */
  batch(commands: readonly BatchCommand[], options: BatchOptions = {}): NvmeBatch {
    return prepareBatch(this.controller, this.commands, commands, options);
  }

  /** Generates and checks this namespace's protection information in this process; undefined without protection. */
  get protection(): ProtectionInformation | undefined {
    return this.commands.format.protection;
  }

  /** Reservations of this namespace, for hosts that share it. */
  get reservations(): NvmeReservations {
    return new NvmeReservations(this.controller, this.nsid, this.identify.rescap);
  }

  /** Flexible data placement: valid values for the `placement` option of a write. */
  get placement(): NvmePlacement {
    return new NvmePlacement(this.controller, this.nsid);
  }

  /** Most bytes that one command transfers, data and interleaved metadata: whole blocks. */
  get transferLimitBytes(): number {
    return this.commands.transferLimitBytes;
  }

  private mover(opcode: number): Mover {
    const { controller, commands } = this;
    return {
      namespace: this,
      format: commands.format,
      dma: controller.dma,
      maxTransferBytes: controller.maxTransferBytes,
      stripeBlocks: stripeBlocks(controller, this.identify, this.blockSizeBytes),
      isRead: opcode === IoOpcode.read,
      bounce: controller.bounce,
      move: (lba, data, options) => this.submit(opcode, lba, data, options),
    };
  }

  private async onBlocks(lba: bigint | number, blocks: number, action: BlockAction): Promise<void> {
    await this.controller.submitIo(this.commands.withoutData(action, lba, blocks));
  }
}

/** @throws ArgumentError if Node.js can't make a Buffer of that size */
function bufferOf(sizeBytes: number): Buffer {
  try {
    return Buffer.allocUnsafe(sizeBytes);
  } catch (cause) {
    throw new ArgumentError(
      `Node.js has no memory for a Buffer of ${sizeBytes} bytes: read less at once, or use chunks()`,
      {
        cause,
      },
    );
  }
}

/** Whether options set only place, queue and control bits. */
function isPlain(options: IoOptions): boolean {
  return (
    options.timeoutMs === undefined &&
    options.signal === undefined &&
    options.metadata === undefined &&
    options.protection === undefined &&
    options.sgl === undefined &&
    options.placement === undefined &&
    options.stream === undefined
  );
}
