import { checkInteger, checkLength, checkOffset, checkU64 } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { transferName } from "../command/command-name.js";
import {
  assertCommandData,
  type CommandData,
  type DataList,
  type DataRange,
  dataBytes,
} from "../command/data-ranges.js";
import { NvmeError } from "../command/error.js";
import { readIdentify } from "../command/identify.js";
import type { ProtectionInformation } from "../protection/information.js";
import {
  type ExtendedLbaFormat,
  type IdentifyNamespace,
  identifyNamespace,
  identifyNvmNamespace,
} from "../spec/identify.js";
import {
  BROADCAST_NSID,
  CommandSet,
  IdentifyCns,
  IO_DEAC,
  IO_FUA,
  IO_LIMITED_RETRY,
  IO_PRACT,
  IoOpcode,
} from "../spec/opcodes.js";
import { NvmeStatus } from "../spec/status.js";
import { type BlockFormat, blockFormatOf } from "./block-format.js";
import type { CommandTarget } from "./command-target.js";
import {
  type BlockRange,
  type CopyRange,
  copyRangeBytes,
  type DatasetAttributes,
  type DatasetRange,
  datasetAttributes,
  encodeCopyRanges,
  encodeDatasetRanges,
} from "./dataset.js";
import {
  type IoOptions,
  ioFields,
  metadataOf,
  PLAIN,
  type ProtectionDefault,
  type ProtectionOptions,
} from "./io-options.js";
import { NvmePlacement } from "./placement.js";
import { NvmeReservations } from "./reservations.js";
import {
  openReadStream,
  openWriteStream,
  type ReadStreamOptions,
  type WriteStreamOptions,
} from "./streams.js";
import {
  type ChunkOptions,
  type NvmeChunk,
  type RangeOptions,
  readChunks,
  transferRange,
} from "./transfers.js";

/** Options of {@link NvmeNamespace.copy}. */
export interface CopyOptions {
  readonly fua?: boolean | undefined;
  readonly limitedRetry?: boolean | undefined;
  /** Descriptor format: by default 0 with a guard of 16 bits or none, else 1. */
  readonly format?: 0 | 1 | undefined;
  /** What is written; what is checked of the sources is `sourceProtection`. */
  readonly protection?: ProtectionOptions | undefined;
  /** Which checks the sources get; the tags stand in each range. */
  readonly sourceProtection?:
    | Pick<ProtectionOptions, "action" | "guard" | "reference" | "storage">
    | undefined;
}

/** Optional NVM commands: bits of Identify Controller, ONCS. */
const optionalCommands = {
  Compare: 1 << 0,
  "Write Uncorrectable": 1 << 1,
  "Dataset Management": 1 << 2,
  "Write Zeroes": 1 << 3,
  Verify: 1 << 7,
  Copy: 1 << 8,
} as const;

/** CTRATT: LBA formats have an extension, which tells of their guard. */
const CTRATT_EXTENDED_LBA_FORMATS = 1 << 15;
/** FUSES: Compare and Write. */
const FUSES_COMPARE_AND_WRITE = 1 << 0;
/** FUSE, bits 9:8 of CDW0. */
const FUSED_FIRST = 1;
const FUSED_SECOND = 2;
/** VWC bits 2:1: Flush takes the broadcast id. */
const VWC_BROADCAST = 3;

/** NLB is a 16-bit field, zero-based. */
const MAX_BLOCKS = 65536;

/** A namespace: a range of logical blocks. */
export class NvmeNamespace {
  /** Bytes per logical block, without metadata. */
  readonly blockSizeBytes: number;
  /** Metadata per block; 0 is none. */
  readonly metadataBytes: number;
  /** Metadata is transferred behind each block's data, and not separately. */
  readonly extendedMetadata: boolean;
  /** Number of logical blocks (NSZE). */
  readonly sizeBlocks: bigint;

  /** Not for users: see {@link NvmeController.namespace}. */
  protected constructor(
    protected readonly controller: CommandTarget,
    readonly nsid: number,
    /** Identify Namespace, as read when this object was made. */
    readonly identify: IdentifyNamespace,
    protected readonly format: BlockFormat,
  ) {
    this.blockSizeBytes = format.blockSizeBytes;
    this.metadataBytes = format.metadataBytes;
    this.extendedMetadata = format.extended;
    this.sizeBlocks = identify.nsze;
  }

  /** @throws ArgumentError where this can't be the id of one namespace */
  static checkId(nsid: number): void {
    checkInteger("nsid", nsid, 1, BROADCAST_NSID - 1);
  }

  /** See {@link NvmeController.namespace}. */
  static async open(controller: CommandTarget, nsid: number): Promise<NvmeNamespace> {
    const { identify, format } = await identifyBlocks(controller, nsid);
    return new NvmeNamespace(controller, nsid, identify, format);
  }

  /** What makes and checks this namespace's protection information in this process; undefined where it has none. */
  get protection(): ProtectionInformation | undefined {
    return this.format.protection;
  }

  /** Reservations of this namespace, for hosts that share it. */
  get reservations(): NvmeReservations {
    return new NvmeReservations(this.controller, this.nsid, this.identify.rescap);
  }

  /** Flexible data placement: what the `placement` of a write can be. */
  get placement(): NvmePlacement {
    return new NvmePlacement(this.controller, this.nsid);
  }

  /**
   * Reads blocks into a buffer of the controller's DMA space, or into a list of ranges and bit buckets.
   * @param lba first logical block; where it is a number, a safe integer
   * @throws ArgumentError (length 0, no multiple of the block size, beyond MDTS or the buffer; foreign buffer; ranges that
   *   this controller can't name; options that don't fit the format), ClosedError, NvmeError (the controller's own status:
   *   LBA Out of Range, End-to-end Guard Check Error, ...), TimeoutError, DeviceGoneError
   */
  read(lba: bigint | number, target: DmaBuffer | DataList, options: IoOptions = NO_OPTIONS): Promise<void> {
    return this.execute(IoOpcode.read, lba, target, options);
  }

  /** Writes blocks from a buffer of the controller's DMA space, or from a list of ranges. @throws as read() */
  write(lba: bigint | number, source: DmaBuffer | DataList, options: IoOptions = NO_OPTIONS): Promise<void> {
    return this.execute(IoOpcode.write, lba, source, options);
  }

  /**
   * Commits what was written to the medium.
   * @param options allNamespaces: of all namespaces of the controller, and not only of this one
   * @throws UnsupportedError where the controller has no flush of all, NvmeError, TimeoutError, DeviceGoneError,
   *   ClosedError
   */
  async flush(options: { readonly allNamespaces?: boolean } = {}): Promise<void> {
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
   * Compares blocks with a buffer, without transferring them.
   * @returns whether all bytes are the same
   * @throws as read(), and UnsupportedError where the controller has no Compare
   */
  async compare(lba: bigint, source: DmaBuffer | DataList, options: IoOptions = {}): Promise<boolean> {
    this.assertOptional("Compare");
    return await isSame(this.transfer(IoOpcode.compare, lba, source, options));
  }

  /**
   * Writes blocks if they hold what is expected, with nothing else between: Compare and Write as one fused operation.
   * @param replacement as long as `expected`
   * @returns whether it was written
   * @throws as read(), and UnsupportedError where the controller has no fused Compare and Write (FUSES)
   */
  async compareAndWrite(
    lba: bigint,
    expected: DmaBuffer | DataList,
    replacement: DmaBuffer | DataList,
    options: Omit<IoOptions, "offset" | "length" | "metadata"> & {
      readonly expectedMetadata?: IoOptions["metadata"];
      readonly replacementMetadata?: IoOptions["metadata"];
    } = {},
  ): Promise<boolean> {
    const { bdf, identify } = this.controller;
    if ((identify.fuses & FUSES_COMPARE_AND_WRITE) === 0) {
      throw new UnsupportedError(`the controller ${bdf} has no fused Compare and Write (FUSES)`);
    }
    const { expectedMetadata, replacementMetadata, placement, stream, ...rest } = options;
    const compare = this.commandOf(IoOpcode.compare, lba, expected, { ...rest, metadata: expectedMetadata });
    const write = this.commandOf(IoOpcode.write, lba, replacement, {
      ...rest,
      placement,
      stream,
      metadata: replacementMetadata,
    });
    const [ofCompare, ofWrite] = [blocksOf(compare), blocksOf(write)];
    if (ofCompare !== ofWrite) {
      throw new ArgumentError(`${ofCompare} blocks are compared, but ${ofWrite} written`);
    }
    const [compared, written] = await Promise.allSettled(
      this.controller.submitFused(
        { ...compare, fuse: FUSED_FIRST },
        { ...write, fuse: FUSED_SECOND },
        options,
      ),
    );
    if (compared.status === "rejected") {
      if (isStatus(compared.reason, NvmeStatus.compareFailure)) return false;
      throw compared.reason;
    }
    if (written.status === "rejected") throw written.reason;
    return true;
  }

  /**
   * Sets blocks to zero without a transfer.
   * @param blocks 1 to 65536
   * @param options deallocate: the controller may forget them instead, if they then read as zero; protection: by default
   *   the controller makes it
   * @throws ArgumentError, UnsupportedError where the controller has no Write Zeroes, NvmeError, TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async writeZeroes(
    lba: bigint,
    blocks: number,
    options: {
      readonly deallocate?: boolean;
      readonly fua?: boolean;
      readonly protection?: ProtectionOptions | undefined;
    } = {},
  ): Promise<void> {
    this.assertOptional("Write Zeroes");
    const flags = (options.deallocate === true ? IO_DEAC : 0) | (options.fua === true ? IO_FUA : 0);
    await this.onBlocks(
      "write zeroes",
      IoOpcode.writeZeroes,
      lba,
      blocks,
      flags,
      options.protection,
      "always",
    );
  }

  /**
   * Reads blocks on the medium and checks them, without a transfer.
   * @param protection what is checked, by default nothing but that they can be read
   * @throws as writeZeroes()
   */
  async verify(lba: bigint, blocks: number, protection?: ProtectionOptions): Promise<void> {
    this.assertOptional("Verify");
    await this.onBlocks("verify", IoOpcode.verify, lba, blocks, 0, protection, "never");
  }

  /** Makes blocks fail to be read, until they are written again: for tests. @throws as writeZeroes() */
  async writeUncorrectable(lba: bigint, blocks: number): Promise<void> {
    this.assertOptional("Write Uncorrectable");
    await this.onBlocks(
      "write uncorrectable",
      IoOpcode.writeUncorrectable,
      lba,
      blocks,
      0,
      undefined,
      "never",
    );
  }

  /**
   * Dataset Management, Deallocate (trim): the controller may forget what is in these ranges.
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
    this.assertOptional("Dataset Management");
    const cdw11 = datasetAttributes(attributes);
    const bytes = encodeDatasetRanges(ranges);
    await this.withBytes(bytes, (data) => ({
      name: "dataset management",
      opcode: IoOpcode.datasetManagement,
      nsid: this.nsid,
      cdw10: ranges.length - 1,
      cdw11,
      data,
    }));
  }

  /**
   * Copies blocks within the namespace, one range after the other, without a transfer (Simple Copy).
   * @param to first logical block of the destination
   * @throws ArgumentError, also for more than the namespace allows (MSRC, MSSRL, MCL), UnsupportedError where the
   *   controller has no Copy or not this descriptor format, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async copy(to: bigint, ranges: readonly CopyRange[], options: CopyOptions = {}): Promise<void> {
    this.assertOptional("Copy");
    checkU64("lba", to);
    const { identify, format, controller } = this;
    checkInteger("ranges.length", ranges.length, 1, identify.msrc + 1);
    const wide = (format.protection?.format.guardBits ?? 16) > 16;
    const descriptors = options.format ?? (wide ? 1 : 0);
    if (!(descriptors in copyRangeBytes))
      throw new ArgumentError(`format must be 0 or 1, got ${descriptors}`);
    if ((controller.identify.ocfs & (1 << descriptors)) === 0) {
      throw new UnsupportedError(
        `the controller ${controller.bdf} has no Copy with descriptor format ${descriptors} (OCFS)`,
      );
    }
    const bytes = encodeCopyRanges(ranges, descriptors, format.protection);
    let total = 0;
    for (const { blocks } of ranges) {
      checkInteger("blocks", blocks, 1, identify.mssrl);
      total += blocks;
    }
    checkInteger("blocks of all ranges", total, 1, identify.mcl);
    const writes = ioFields(format, to, options, "always");
    const { sourceProtection } = options;
    const reads = ioFields(
      format,
      0n,
      {
        protection:
          sourceProtection ?? (format.protection === undefined ? undefined : sourceDefault(writes.control)),
      },
      "never",
    );
    // PRINFOR is where PRINFOW is, 14 bits lower; the sources' storage tag check is one above the destination's.
    const prinfoRead = ((reads.control >>> 26) & 0xf) << 12;
    const storageRead = ((reads.control >>> 24) & 1) << 25;
    await this.withBytes(bytes, (data) => ({
      name: "copy",
      opcode: IoOpcode.copy,
      nsid: this.nsid,
      cdw2: writes.cdw2,
      cdw3: writes.cdw3,
      cdw10: Number(to & 0xffff_ffffn),
      cdw11: Number(to >> 32n),
      cdw12: ((ranges.length - 1) | (descriptors << 8) | prinfoRead | storageRead | writes.control) >>> 0,
      cdw14: writes.cdw14,
      cdw15: writes.cdw15,
      data,
    }));
  }

  /**
   * Reads any number of blocks into a buffer or list, by as many commands as it takes, a few of them at a time.
   * @throws as read(), once all commands under way have ended; the signal's reason
   */
  async readRange(lba: bigint, target: DmaBuffer | DataList, options: RangeOptions = {}): Promise<void> {
    await transferRange(
      this.mover((at, data, o) => this.transfer(IoOpcode.read, at, data, o)),
      lba,
      target,
      options,
    );
  }

  /** Writes any number of blocks in the same way, in no particular order. @throws as readRange() */
  async writeRange(lba: bigint, source: DmaBuffer | DataList, options: RangeOptions = {}): Promise<void> {
    await transferRange(
      this.mover((at, data, o) => this.transfer(IoOpcode.write, at, data, o)),
      lba,
      source,
      options,
    );
  }

  /**
   * Blocks in order, piece by piece, while the next ones are read already. The bytes of a piece are valid until the next
   * one is asked for.
   * @throws as readRange()
   */
  chunks(
    lba: bigint,
    blocks: bigint | number,
    options: ChunkOptions = {},
  ): AsyncGenerator<NvmeChunk, void, void> {
    return readChunks(
      this.mover((at, data, o) => this.transfer(IoOpcode.read, at, data, o)),
      lba,
      blocks,
      options,
    );
  }

  /**
   * A stream of the bytes of blocks, all to the namespace's end by default. Destroying it gives everything back as soon as
   * what is under way has ended.
   */
  createReadStream(options: ReadStreamOptions = {}): ReturnType<typeof openReadStream> {
    return openReadStream(this, options);
  }

  /** A stream whose bytes are written from a block on. It is finished when all have been written. */
  createWriteStream(options: WriteStreamOptions = {}): ReturnType<typeof openWriteStream> {
    return openWriteStream(this, this.controller.dma, this.transferLimitBytes, options);
  }

  /** The most that one command transfers, in bytes of data and interleaved metadata: whole blocks. */
  get transferLimitBytes(): number {
    const bytes = this.dataBytesPerBlock(this.stripsByDefault);
    const limit = Math.min(MAX_BLOCKS * bytes, this.controller.maxTransferBytes);
    return Math.floor(limit / bytes) * bytes;
  }

  private get stripsByDefault(): boolean {
    return this.format.protection?.isWholeMetadata === true;
  }

  private mover(
    move: (lba: bigint, data: CommandData, options: IoOptions) => Promise<NvmeCompletion>,
  ): Parameters<typeof transferRange>[0] {
    return {
      namespace: this,
      format: this.format,
      dma: this.controller.dma,
      maxTransferBytes: this.controller.maxTransferBytes,
      move,
    };
  }

  private dataBytesPerBlock(strips: boolean): number {
    const { blockSizeBytes, metadataBytes, extended } = this.format;
    return blockSizeBytes + (extended && !strips ? metadataBytes : 0);
  }

  private assertOptional(name: keyof typeof optionalCommands): void {
    const { bdf, identify } = this.controller;
    if ((identify.oncs & optionalCommands[name]) === 0) {
      throw new UnsupportedError(`the controller ${bdf} has no ${name} command (ONCS)`);
    }
  }

  /** A command whose data are a few bytes of our own. */
  private async withBytes(bytes: Uint8Array, command: (data: DataRange) => NvmeCommand): Promise<void> {
    const buffer = this.controller.dma.alloc(bytes.length);
    try {
      buffer.bytes.set(bytes);
      await this.controller.submitIo(command({ buffer }));
    } finally {
      buffer.close();
    }
  }

  /** A command on a range of blocks that carries no data. */
  private async onBlocks(
    name: string,
    opcode: number,
    lba: bigint,
    blocks: number,
    flags: number,
    protection: ProtectionOptions | undefined,
    byDefault: ProtectionDefault,
  ): Promise<void> {
    checkU64("lba", lba);
    checkInteger("blocks", blocks, 1, MAX_BLOCKS);
    const fields = ioFields(this.format, lba, { protection }, byDefault);
    await this.controller.submitIo({
      name,
      opcode,
      nsid: this.nsid,
      cdw2: fields.cdw2,
      cdw3: fields.cdw3,
      cdw10: Number(lba & 0xffff_ffffn),
      cdw11: Number(lba >> 32n),
      cdw12: ((blocks - 1) | flags | fields.control) >>> 0,
      cdw14: fields.cdw14,
      cdw15: fields.cdw15,
    });
  }

  /** @throws as read(), at once or as a rejection */
  protected transfer(
    opcode: number,
    lba: bigint | number,
    data: DmaBuffer | CommandData,
    options: IoOptions,
    flags = 0,
    maxBytes = this.controller.maxTransferBytes,
  ): Promise<NvmeCompletion> {
    return this.controller.submitIo(this.commandOf(opcode, lba, data, options, flags, maxBytes), options);
  }

  /**
   * A read or write: without an object where it is plain, else as a command. Not async, because a promise that only waits
   * for another one costs as much again.
   */
  private execute(
    opcode: number,
    lba: bigint | number,
    data: DmaBuffer | CommandData,
    options: IoOptions,
  ): Promise<void> {
    try {
      return (
        this.transferPlainly(opcode, lba, data, options) ??
        this.transfer(opcode, lba, data, options).then(nothing)
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Submits the most frequent kind of read and write: one contiguous buffer, and no options but place, queue and control
   * bits.
   * @returns undefined, with nothing done, where it isn't that, or where an argument is wrong: transfer() says what
   */
  private transferPlainly(
    opcode: number,
    given: bigint | number,
    buffer: DmaBuffer | CommandData,
    options: IoOptions,
  ): Promise<void> | undefined {
    if (!(buffer instanceof DmaBuffer) || this.metadataBytes !== 0 || !isPlain(options)) return undefined;
    const { controller } = this;
    const { offset = 0 } = options;
    const { length = buffer.sizeBytes - offset } = options;
    const blocks = length / this.blockSizeBytes;
    // The halves of a bigint are two more bigints; nearly every LBA is exact as a number.
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
    const cdw12 = ((blocks - 1) | controlOf(options)) >>> 0;
    return controller.transferIo(opcode, this.nsid, lba, cdw12, buffer, offset, length, options.queue);
  }

  private commandOf(
    opcode: number,
    lba: bigint | number,
    data: DmaBuffer | CommandData,
    options: IoOptions,
    flags = 0,
    maxBytes = this.controller.maxTransferBytes,
  ): NvmeCommand {
    if (typeof lba === "number") checkInteger("lba", lba, 0, Number.MAX_SAFE_INTEGER);
    else checkU64("lba", lba);
    const { format } = this;
    const whole = withRange(data, options);
    const isPlain =
      format.metadataBytes === 0 &&
      options.protection === undefined &&
      options.placement === undefined &&
      options.stream === undefined;
    const fields = isPlain ? PLAIN : ioFields(format, BigInt(lba), options);
    const length = dataBytes(whole);
    const perBlock = this.dataBytesPerBlock(fields.strips);
    if (!(length % perBlock === 0)) {
      throw new ArgumentError(
        `length ${length} is not a multiple of the block size ${perBlock}${perBlock > format.blockSizeBytes ? " (with metadata)" : ""}`,
      );
    }
    const blocks = length / perBlock;
    if (blocks > MAX_BLOCKS || length > maxBytes) {
      const limit = Math.min(MAX_BLOCKS * perBlock, maxBytes);
      throw new ArgumentError(`length ${length} is more than one command can carry here (${limit} bytes)`);
    }
    const control = isPlain ? controlOf(options) : fields.control;
    // Halves of a bigint are two more bigints; nearly every LBA is exact as a number.
    const exact = Number(lba);
    const isExact = exact <= Number.MAX_SAFE_INTEGER;
    const cdw10 = isExact ? exact >>> 0 : Number(BigInt(lba) & 0xffff_ffffn);
    const cdw11 = isExact ? Math.floor(exact / 2 ** 32) : Number(BigInt(lba) >> 32n);
    const cdw12 = ((blocks - 1) | control | flags) >>> 0;
    const name = transferName(opcode);
    const { nsid } = this;
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
}

/** Identify Namespace, and how its blocks are transferred. @throws as NvmeController.namespace() */
export async function identifyBlocks(
  controller: CommandTarget,
  nsid: number,
): Promise<{ readonly identify: IdentifyNamespace; readonly format: BlockFormat }> {
  NvmeNamespace.checkId(nsid);
  const identify = identifyNamespace.decode(await readIdentify(controller, IdentifyCns.namespace, { nsid }));
  // For an id that is valid but not active the controller returns zeros.
  if (identify.nsze === 0n) throw new ArgumentError(`there is no active namespace ${nsid}`);
  let extension: ExtendedLbaFormat | undefined;
  const isProtected = (identify.dps & 7) !== 0;
  if (isProtected && (controller.identify.ctratt & CTRATT_EXTENDED_LBA_FORMATS) !== 0) {
    const page = await readIdentify(controller, IdentifyCns.namespaceForCommandSet, {
      nsid,
      csi: CommandSet.nvm,
    });
    extension = identifyNvmNamespace.decode(page).elbaf[lbaFormatIndex(identify)];
  }
  return { identify, format: blockFormatOf(nsid, identify, extension) };
}

/** As {@link currentLbaFormat} finds it: FLBAS bits 3:0, and bits 6:5 above them. */
export function lbaFormatIndex({ flbas, nlbaf }: IdentifyNamespace): number {
  return (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
}

/** A buffer with what options say of its range; a list as it is. @throws ArgumentError */
function withRange(data: DmaBuffer | CommandData, options: IoOptions): CommandData {
  if (!(data instanceof DmaBuffer)) {
    assertCommandData(data);
    if (options.offset !== undefined || options.length !== undefined) {
      throw new ArgumentError("offset and length belong to a buffer; a list of ranges has its own");
    }
    return data;
  }
  const offset = checkOffset("offset", options.offset ?? 0);
  const length = checkLength("length", options.length ?? data.sizeBytes - offset);
  return { buffer: data, offset, length };
}

const NO_OPTIONS: IoOptions = Object.freeze({});

const nothing = (): void => {};

/** Whether options say nothing but place, queue and control bits. */
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

function controlOf(options: IoOptions): number {
  return (options.fua === true ? IO_FUA : 0) | (options.limitedRetry === true ? IO_LIMITED_RETRY : 0);
}

/** NLB of a command. */
function blocksOf({ cdw12 = 0 }: NvmeCommand): number {
  return (cdw12 & 0xffff) + 1;
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof NvmeError && (error.statusCodeType << 8) + error.statusCode === status;
}

async function isSame(comparing: Promise<NvmeCompletion>): Promise<boolean> {
  try {
    await comparing;
    return true;
  } catch (error) {
    if (isStatus(error, NvmeStatus.compareFailure)) return false;
    throw error;
  }
}

/** Without other wishes, sources are treated as what is written: controllers want both or neither (PRACT). */
function sourceDefault(writes: number): ProtectionOptions {
  return { action: (writes & IO_PRACT) !== 0 };
}
