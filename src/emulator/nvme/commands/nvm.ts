/** The I/O commands: reads, writes and the others of the NVM command set. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import {
  BROADCAST_NSID,
  CommandSet,
  IO_DEAC,
  IO_PRACT,
  IO_PRCHK_APP,
  IO_PRCHK_GUARD,
  IO_PRCHK_REF,
  IoOpcode,
} from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../medium/namespace.js";
import type { ProtectionArguments } from "../medium/protection.js";
import { amount, count, u32 } from "../medium/state-schema.js";
import type { ZoneGrant } from "../medium/zones.js";
import { type IoContext, IoCounter } from "./io-context.js";
import { PlacementCommands, placementState } from "./placement.js";
import { ReservationCommands, reservationsState } from "./reservations.js";
import { ZoneCommands } from "./zone.js";

/** The part of a migration state that holds what the I/O commands remember. */
export const nvmState = lazily(() =>
  z.strictObject({
    counters: z.array(amount()).check(z.length(5)),
    fused: z.strictObject({ on: integer(-1, 0xffff), status: u32(), at: count(), blocks: u32() }),
    reservations: reservationsState(),
    placement: placementState(),
  }),
);
export type NvmState = z.output<ReturnType<typeof nvmState>>;

/** Dataset Management: ranges of one command, and bytes of each. */
const DSM_RANGE_BYTES = 16;
const DSM_DEALLOCATE = 1 << 2;
/** Copy: bytes of a source range in format 0. */
const COPY_RANGE_BYTES = 32;

/** What Copy takes at most (MSRC zero-based, MSSRL, MCL). */
export const copyLimits = { ranges: 128, blocksPerRange: 2048, blocks: 65_536 } as const;

/** FUSE, bits 9:8 of CDW0. */
const FUSE_MASK = 3 << 8;
const FUSED_FIRST = 1;
const FUSED_SECOND = 2;

/** The NVM command set. Handlers return a status. Reads and writes of plain namespaces come first: they are the load. */
export class NvmCommands {
  readonly counters = new Float64Array(5);
  private readonly zoneCommands: ZoneCommands;
  private readonly reservations: ReservationCommands;
  private readonly placement: PlacementCommands;
  /** Queue on which the first half of a fused operation came last, -1 for none; its outcome, and its blocks. */
  private fusedOn = -1;
  private fusedStatus: number = NvmeStatus.success;
  private fusedAt = 0;
  private fusedBlocks = 0;
  /** Commands other than writes that change blocks. */
  private otherChanges = 0;
  private readonly grant: ZoneGrant = { status: 0, lba: 0 };
  /** Buffers for blocks that can't be copied directly: data, metadata, and both interleaved. */
  private readonly bounce: Uint8Array;
  private readonly metadataBounce: Uint8Array;
  private readonly extendedBounce: Uint8Array;
  private readonly otherBounce: Uint8Array;
  private readonly pi: ProtectionArguments = { flags: 0, appTag: 0, appTagMask: 0, referenceTag: 0 };

  constructor(private readonly context: IoContext) {
    const { maxTransferBytes } = context;
    // Blocks of 512 bytes with 64 of metadata are the most.
    const metadataBytes = maxTransferBytes / 8;
    this.bounce = new Uint8Array(maxTransferBytes);
    this.metadataBounce = new Uint8Array(metadataBytes);
    this.extendedBounce = new Uint8Array(maxTransferBytes + metadataBytes);
    this.otherBounce = new Uint8Array(maxTransferBytes + metadataBytes);
    this.zoneCommands = new ZoneCommands(context);
    this.reservations = new ReservationCommands(context, context.controllerId);
    this.placement = new PlacementCommands(context, context.placements);
  }

  /** Grows with every command that may change blocks. */
  get changes(): number {
    return (this.counters[IoCounter.writeCommands] ?? 0) + this.otherChanges;
  }

  /** The controller was reset. */
  reset(): void {
    this.fusedOn = -1;
  }

  save(): NvmState {
    return {
      counters: [...this.counters],
      fused: { on: this.fusedOn, status: this.fusedStatus, at: this.fusedAt, blocks: this.fusedBlocks },
      reservations: this.reservations.save(),
      placement: this.placement.save(),
    };
  }

  /** @throws ArgumentError if the state is invalid */
  check({ placement }: NvmState): void {
    this.placement.check(placement);
  }

  /** @param saved that check() accepted */
  load({ counters, fused, reservations, placement }: NvmState): void {
    this.counters.set(counters);
    this.fusedOn = fused.on;
    this.fusedStatus = fused.status;
    this.fusedAt = fused.at;
    this.fusedBlocks = fused.blocks;
    this.reservations.load(reservations);
    this.placement.load(placement);
  }

  execute(): number {
    const { command, attached } = this.context;
    const { opcode, nsid } = command;
    const namespace = attached[nsid];
    if (namespace === undefined) {
      const refusal = this.context.refusals.get(nsid);
      if (refusal !== undefined) return refusal;
      if (opcode === IoOpcode.flush && nsid === BROADCAST_NSID) return this.flush();
      return NvmeStatus.invalidNamespace;
    }
    if (((command.sqe[0] ?? 0) & FUSE_MASK) !== 0) return this.fused(namespace);
    if (this.fusedOn === command.sqid) this.fusedOn = -1;
    switch (opcode) {
      case IoOpcode.read:
        return this.read(namespace);
      case IoOpcode.write:
        return this.write(namespace, false);
      case IoOpcode.flush:
        return this.flush();
      case IoOpcode.compare:
        return this.compare(namespace);
      case IoOpcode.writeZeroes:
        return this.writeZeroes(namespace);
      case IoOpcode.datasetManagement:
        return this.datasetManagement(namespace);
      case IoOpcode.writeUncorrectable:
        return this.writeUncorrectable(namespace);
      case IoOpcode.verify:
        return this.verify(namespace);
      case IoOpcode.copy:
        return this.copy(namespace);
      case IoOpcode.reservationRegister:
      case IoOpcode.reservationAcquire:
      case IoOpcode.reservationRelease:
      case IoOpcode.reservationReport:
        return this.reservations.execute(namespace);
      case IoOpcode.ioManagementReceive:
      case IoOpcode.ioManagementSend:
        return this.placement.execute(namespace);
      default:
        if (namespace.csi !== CommandSet.zoned || !this.context.allCommandSets)
          return NvmeStatus.invalidOpcode;
        if (opcode === IoOpcode.zoneAppend) return this.write(namespace, true);
        return this.zoneCommands.execute(namespace);
    }
  }

  /**
   * Compare and Write. No other command comes between the two, because all commands of one doorbell write are executed
   * together. A first half without its second is an ordinary Compare.
   */
  private fused(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const { opcode, sqid } = command;
    const fuse = ((command.sqe[0] ?? 0) & FUSE_MASK) >>> 8;
    const blocks = command.cdw(12) & 0xffff;
    if (fuse === FUSED_FIRST) {
      if (opcode !== IoOpcode.compare) return NvmeStatus.invalidField;
      this.fusedOn = sqid;
      this.fusedAt = command.slba;
      this.fusedBlocks = blocks;
      this.fusedStatus = this.compare(namespace);
      return this.fusedStatus;
    }
    if (fuse !== FUSED_SECOND || opcode !== IoOpcode.write) return NvmeStatus.invalidField;
    if (this.fusedOn !== sqid) return NvmeStatus.commandAbortedDueToMissingFusedCommand;
    this.fusedOn = -1;
    if (this.fusedStatus !== NvmeStatus.success) return NvmeStatus.commandAbortedDueToFailedFusedCommand;
    if (this.fusedAt !== command.slba || this.fusedBlocks !== blocks) return NvmeStatus.invalidField;
    return this.write(namespace, false);
  }

  private read(namespace: EmulatedNamespace): number {
    const { command, transfer, medium, maxTransferBytes } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    const lengthBytes = blocks * namespace.blockBytes;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    this.counters[IoCounter.readCommands] = (this.counters[IoCounter.readCommands] ?? 0) + 1;
    this.counters[IoCounter.bytesRead] = (this.counters[IoCounter.bytesRead] ?? 0) + lengthBytes;
    if (namespace.uncorrectable.size > 0 && namespace.uncorrectable.hasAny(lba, blocks))
      return this.mediaError();
    if (namespace.zones !== undefined) {
      const status = namespace.zones.readable(lba, blocks);
      if (status !== NvmeStatus.success) return status;
    }
    if (namespace.metadataBytes !== 0) return this.readWithMetadata(namespace, lba, blocks);
    const at = namespace.dataAt + lba * namespace.blockBytes;
    let done: boolean;
    if (!command.faulty && transfer.findPage(command, lengthBytes, true)) {
      const { page } = transfer;
      done = medium.read(at, page.bytes, page.offset, lengthBytes);
    } else {
      const status = transfer.map(command, lengthBytes, true);
      if (status !== NvmeStatus.success) return status;
      done = command.data.fromMedium(medium, at);
    }
    return done ? NvmeStatus.success : this.mediaError();
  }

  private write(namespace: EmulatedNamespace, append: boolean): number {
    const { command, transfer, medium, maxTransferBytes } = this.context;
    let lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    const lengthBytes = blocks * namespace.blockBytes;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    this.counters[IoCounter.writeCommands] = (this.counters[IoCounter.writeCommands] ?? 0) + 1;
    this.counters[IoCounter.bytesWritten] = (this.counters[IoCounter.bytesWritten] ?? 0) + lengthBytes;
    if (namespace.metadataBytes !== 0) return this.writeWithMetadata(namespace, lba, blocks);
    const isPage = !command.faulty && transfer.findPage(command, lengthBytes, false);
    if (!isPage) {
      const status = transfer.map(command, lengthBytes, false);
      if (status !== NvmeStatus.success) return status;
    }
    if (namespace.zones !== undefined) {
      const { grant } = this;
      namespace.zones.write(lba, blocks, append, grant);
      if (grant.status !== NvmeStatus.success) return grant.status;
      lba = grant.lba;
    }
    const at = namespace.dataAt + lba * namespace.blockBytes;
    const { page } = transfer;
    const done = isPage
      ? medium.write(at, page.bytes, page.offset, lengthBytes)
      : command.data.toMedium(medium, at);
    if (!done) return this.writeFault();
    this.written(namespace, lba, blocks);
    if (append) {
      command.dw0 = lba % 2 ** 32;
      command.dw1 = Math.floor(lba / 2 ** 32);
    }
    return NvmeStatus.success;
  }

  private written(namespace: EmulatedNamespace, lba: number, blocks: number): void {
    if (namespace.uncorrectable.size > 0) namespace.uncorrectable.delete(lba, blocks);
    if (this.placement.isEnabled) this.placement.written(namespace, blocks * namespace.blockBytes);
    namespace.zones?.advance(lba, blocks);
  }

  private flush(): number {
    return this.context.medium.flush() ? NvmeStatus.success : this.writeFault();
  }

  private readWithMetadata(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const status = this.loadBlocks(namespace, lba, blocks);
    if (status !== NvmeStatus.success) return status;
    const checked = this.checkLoaded(namespace, lba, blocks);
    if (checked !== NvmeStatus.success) return checked;
    const { command, transfer } = this.context;
    const { blockBytes, metadataBytes, record } = namespace;
    const data = this.bounce.subarray(0, blocks * blockBytes);
    if (this.stripsMetadata(namespace)) return transfer.send(command, data);
    const metadata = this.metadataBounce.subarray(0, blocks * metadataBytes);
    if (record.extended)
      return transfer.send(command, this.interleave(namespace, blocks, this.extendedBounce));
    const mapped = transfer.mapMetadata(command, metadata.length, true);
    if (mapped !== NvmeStatus.success) return mapped;
    const sent = transfer.send(command, data);
    if (sent === NvmeStatus.success) command.metadata.fromBytes(metadata);
    return sent;
  }

  private writeWithMetadata(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const status = this.fetchBlocks(namespace, blocks);
    if (status !== NvmeStatus.success) return status;
    const { protection } = namespace;
    if (protection !== undefined) {
      const arguments_ = this.protectionArguments(namespace, lba, true);
      if (arguments_ === undefined) return NvmeStatus.invalidProtectionInformation;
      if ((arguments_.flags & IO_PRACT) !== 0) {
        protection.generate(this.bounce, this.metadataBounce, blocks, arguments_);
      } else {
        const checked = protection.check(this.bounce, this.metadataBounce, blocks, arguments_);
        if (checked !== NvmeStatus.success) return checked;
      }
    }
    return this.storeBlocks(namespace, lba, blocks) ? NvmeStatus.success : this.writeFault();
  }

  /** A command's blocks from the host, data and metadata apart. */
  private fetchBlocks(namespace: EmulatedNamespace, blocks: number): number {
    const { command, transfer } = this.context;
    const { blockBytes, metadataBytes, record } = namespace;
    const data = this.bounce.subarray(0, blocks * blockBytes);
    const metadata = this.metadataBounce.subarray(0, blocks * metadataBytes);
    if (metadataBytes === 0) return transfer.fetch(command, data);
    if (this.stripsMetadata(namespace)) {
      metadata.fill(0);
      return transfer.fetch(command, data);
    }
    if (!record.extended) {
      const status = transfer.mapMetadata(command, metadata.length, false);
      if (status !== NvmeStatus.success) return status;
      command.metadata.toBytes(metadata);
      return transfer.fetch(command, data);
    }
    const both = this.extendedBounce.subarray(0, blocks * (blockBytes + metadataBytes));
    const status = transfer.fetch(command, both);
    if (status !== NvmeStatus.success) return status;
    for (let block = 0; block < blocks; block++) {
      const at = block * (blockBytes + metadataBytes);
      data.set(both.subarray(at, at + blockBytes), block * blockBytes);
      metadata.set(both.subarray(at + blockBytes, at + blockBytes + metadataBytes), block * metadataBytes);
    }
    return NvmeStatus.success;
  }

  private interleave(namespace: EmulatedNamespace, blocks: number, into: Uint8Array): Uint8Array {
    const { blockBytes, metadataBytes } = namespace;
    for (let block = 0; block < blocks; block++) {
      const at = block * (blockBytes + metadataBytes);
      into.set(this.bounce.subarray(block * blockBytes, (block + 1) * blockBytes), at);
      into.set(
        this.metadataBounce.subarray(block * metadataBytes, (block + 1) * metadataBytes),
        at + blockBytes,
      );
    }
    return into.subarray(0, blocks * (blockBytes + metadataBytes));
  }

  /** PRACT where the metadata is nothing but protection: the host neither gives nor gets any. */
  private stripsMetadata(namespace: EmulatedNamespace): boolean {
    return namespace.protection?.isWholeMetadata === true && (this.context.command.cdw(12) & IO_PRACT) !== 0;
  }

  /** What the command says of protection, or undefined where type 1 is asked for another tag than the block's. */
  private protectionArguments(
    namespace: EmulatedNamespace,
    lba: number,
    isWrite: boolean,
  ): ProtectionArguments | undefined {
    const { command } = this.context;
    const { pi } = this;
    const { protection, format } = namespace;
    pi.flags = command.cdw(12) & (IO_PRACT | IO_PRCHK_GUARD | IO_PRCHK_APP | IO_PRCHK_REF);
    pi.appTag = command.cdw(15) & 0xffff;
    pi.appTagMask = command.cdw(15) >>> 16;
    const high = format.guardBits === 64 ? command.cdw(3) & 0xffff : 0;
    pi.referenceTag = high * 2 ** 32 + command.cdw(14);
    const usesReference = (pi.flags & IO_PRCHK_REF) !== 0 || (isWrite && (pi.flags & IO_PRACT) !== 0);
    const modulus = format.guardBits === 64 ? 2 ** 48 : 2 ** 32;
    if (protection?.format.type === 1 && usesReference && pi.referenceTag !== lba % modulus) return undefined;
    if (protection?.format.type === 3 && (pi.flags & IO_PRCHK_REF) !== 0) return undefined;
    return pi;
  }

  /** Blocks from the medium into the bounce buffers. */
  private loadBlocks(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { medium } = this.context;
    const { blockBytes, metadataBytes, dataAt, metadataAt } = namespace;
    const done =
      medium.read(dataAt + lba * blockBytes, this.bounce, 0, blocks * blockBytes) &&
      (metadataBytes === 0 ||
        medium.read(metadataAt + lba * metadataBytes, this.metadataBounce, 0, blocks * metadataBytes));
    return done ? NvmeStatus.success : this.mediaError();
  }

  private storeBlocks(namespace: EmulatedNamespace, lba: number, blocks: number): boolean {
    const { medium } = this.context;
    const { blockBytes, metadataBytes, dataAt, metadataAt } = namespace;
    const done =
      medium.write(dataAt + lba * blockBytes, this.bounce, 0, blocks * blockBytes) &&
      (metadataBytes === 0 ||
        medium.write(metadataAt + lba * metadataBytes, this.metadataBounce, 0, blocks * metadataBytes));
    if (done) this.written(namespace, lba, blocks);
    return done;
  }

  private checkLoaded(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { protection } = namespace;
    if (protection === undefined) return NvmeStatus.success;
    const arguments_ = this.protectionArguments(namespace, lba, false);
    if (arguments_ === undefined) return NvmeStatus.invalidProtectionInformation;
    return protection.check(this.bounce, this.metadataBounce, blocks, arguments_);
  }

  private compare(namespace: EmulatedNamespace): number {
    const { command, maxTransferBytes } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    const lengthBytes = blocks * namespace.blockBytes;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    if (namespace.uncorrectable.hasAny(lba, blocks)) return this.mediaError();
    const fetched = this.fetchBlocks(namespace, blocks);
    if (fetched !== NvmeStatus.success) return fetched;
    const metadataBytes = this.stripsMetadata(namespace) ? 0 : blocks * namespace.metadataBytes;
    const given = this.otherBounce;
    given.set(this.bounce.subarray(0, lengthBytes));
    given.set(this.metadataBounce.subarray(0, metadataBytes), lengthBytes);
    const loaded = this.loadBlocks(namespace, lba, blocks);
    if (loaded !== NvmeStatus.success) return loaded;
    const checked = this.checkLoaded(namespace, lba, blocks);
    if (checked !== NvmeStatus.success) return checked;
    const same =
      equal(given, 0, this.bounce, lengthBytes) &&
      equal(given, lengthBytes, this.metadataBounce, metadataBytes);
    return same ? NvmeStatus.success : NvmeStatus.compareFailure;
  }

  private writeZeroes(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (namespace.zones !== undefined) {
      namespace.zones.write(lba, blocks, false, this.grant);
      if (this.grant.status !== NvmeStatus.success) return this.grant.status;
    }
    this.otherChanges++;
    if (!namespace.deallocate(lba, blocks)) return this.writeFault();
    namespace.zones?.advance(lba, blocks);
    if (namespace.protection === undefined || (command.cdw(12) & IO_DEAC) !== 0) return NvmeStatus.success;
    return this.protectZeroes(namespace, lba, blocks);
  }

  /** Zeros that are written, and not deallocated, have protection as any other data. */
  private protectZeroes(namespace: EmulatedNamespace, lba: number, blocks: number): number {
    const { medium, maxTransferBytes } = this.context;
    const arguments_ = this.protectionArguments(namespace, lba, true);
    if (arguments_ === undefined) return NvmeStatus.invalidProtectionInformation;
    const { metadataBytes, metadataAt, blockBytes, protection } = namespace;
    const perRound = maxTransferBytes / blockBytes;
    this.bounce.fill(0);
    for (let done = 0; done < blocks; done += perRound) {
      const count = Math.min(perRound, blocks - done);
      this.metadataBounce.fill(0, 0, count * metadataBytes);
      if ((arguments_.flags & IO_PRACT) !== 0) {
        protection?.generate(this.bounce, this.metadataBounce, count, arguments_);
        arguments_.referenceTag += namespace.record.protection === 3 ? 0 : count;
      }
      const at = metadataAt + (lba + done) * metadataBytes;
      if (!medium.write(at, this.metadataBounce, 0, count * metadataBytes)) return this.writeFault();
    }
    return NvmeStatus.success;
  }

  private datasetManagement(namespace: EmulatedNamespace): number {
    const { command, transfer } = this.context;
    const ranges = new Uint8Array(((command.cdw(10) & 0xff) + 1) * DSM_RANGE_BYTES);
    const status = transfer.fetch(command, ranges);
    if (status !== NvmeStatus.success) return status;
    const view = new DataView(ranges.buffer);
    const parsed: [lba: number, blocks: number][] = [];
    for (let at = 0; at < ranges.length; at += DSM_RANGE_BYTES) {
      const blocks = view.getUint32(at + 4, true);
      const lba = Number(view.getBigUint64(at + 8, true));
      if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
      parsed.push([lba, blocks]);
    }
    // A zone frees its blocks when it is reset; here deallocation is only a hint.
    if ((command.cdw(11) & DSM_DEALLOCATE) === 0 || namespace.zones !== undefined) return NvmeStatus.success;
    this.otherChanges++;
    for (const [lba, blocks] of parsed) {
      if (blocks > 0 && !namespace.deallocate(lba, blocks)) return this.writeFault();
    }
    return NvmeStatus.success;
  }

  private writeUncorrectable(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (namespace.zones !== undefined) return NvmeStatus.invalidField;
    this.otherChanges++;
    namespace.uncorrectable.add(lba, blocks);
    return NvmeStatus.success;
  }

  private verify(namespace: EmulatedNamespace): number {
    const { command, maxTransferBytes } = this.context;
    const lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (blocks * namespace.blockBytes > maxTransferBytes) return NvmeStatus.invalidField;
    if (namespace.uncorrectable.hasAny(lba, blocks)) return this.mediaError();
    const loaded = this.loadBlocks(namespace, lba, blocks);
    return loaded === NvmeStatus.success ? this.checkLoaded(namespace, lba, blocks) : loaded;
  }

  private copy(namespace: EmulatedNamespace): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const format = (command.cdw(12) >>> 8) & 0xf;
    // Protection and zones would need rewriting on the way.
    if (format !== 0 || namespace.protection !== undefined || namespace.zones !== undefined) {
      return NvmeStatus.invalidField;
    }
    const count = (command.cdw(12) & 0xff) + 1;
    if (count > copyLimits.ranges) return NvmeStatus.commandSizeLimitExceeded;
    const ranges = new Uint8Array(count * COPY_RANGE_BYTES);
    const fetched = transfer.fetch(command, ranges);
    if (fetched !== NvmeStatus.success) return fetched;
    const view = new DataView(ranges.buffer);
    const sources: [lba: number, blocks: number][] = [];
    let total = 0;
    for (let at = 0; at < ranges.length; at += COPY_RANGE_BYTES) {
      const lba = Number(view.getBigUint64(at + 8, true));
      const blocks = view.getUint16(at + 16, true) + 1;
      if (blocks > copyLimits.blocksPerRange) return NvmeStatus.commandSizeLimitExceeded;
      if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
      if (namespace.uncorrectable.hasAny(lba, blocks)) return this.mediaError();
      sources.push([lba, blocks]);
      total += blocks;
    }
    if (total > copyLimits.blocks) return NvmeStatus.commandSizeLimitExceeded;
    let to = command.slba;
    if (to + total > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    const perRound = Math.floor(maxTransferBytes / namespace.blockBytes);
    this.otherChanges++;
    for (const [lba, blocks] of sources) {
      for (let done = 0; done < blocks; done += perRound) {
        const round = Math.min(perRound, blocks - done);
        const loaded = this.loadBlocks(namespace, lba + done, round);
        if (loaded !== NvmeStatus.success) return loaded;
        if (!this.storeBlocks(namespace, to, round)) return this.writeFault();
        to += round;
      }
    }
    return NvmeStatus.success;
  }

  private mediaError(): number {
    this.counters[IoCounter.mediaErrors] = (this.counters[IoCounter.mediaErrors] ?? 0) + 1;
    return NvmeStatus.unrecoveredReadError;
  }

  private writeFault(): number {
    this.counters[IoCounter.mediaErrors] = (this.counters[IoCounter.mediaErrors] ?? 0) + 1;
    return NvmeStatus.writeFault;
  }
}

function equal(a: Uint8Array, from: number, b: Uint8Array, lengthBytes: number): boolean {
  const left = Buffer.from(a.buffer, a.byteOffset + from, lengthBytes);
  return left.equals(b.subarray(0, lengthBytes));
}
