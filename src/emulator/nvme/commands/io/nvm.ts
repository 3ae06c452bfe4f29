/** The I/O commands: reads, writes and the others of the NVM command set. */
import * as z from "zod/mini";
import { lazily } from "../../../../core/lazy.js";
import { integer } from "../../../../core/options.js";
import { BROADCAST_NSID, CommandSet, IoOpcode } from "../../../../nvme/spec/opcodes.js";
import { Fuse } from "../../../../nvme/spec/queue-entries.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import { amount, count, u32 } from "../../medium/state-schema.js";
import type { ZoneGrant } from "../../medium/zones.js";
import { BlockBuffers } from "./block-buffers.js";
import { BlockStateCommands } from "./block-state.js";
import { cancel } from "./cancel.js";
import { CommandProtection } from "./command-protection.js";
import { CompareCommands } from "./compare.js";
import { CopyCommand } from "./copy.js";
import type { IoContext } from "./io-context.js";
import { KeyValueCommands } from "./key-value.js";
import { MetadataCommands } from "./metadata.js";
import { IoCounter, IoOutcomes } from "./outcomes.js";
import { PlacementCommands, placementState } from "./placement.js";
import { hostName, ReservationCommands, reservationsState } from "./reservations.js";
import { ZoneCommands } from "./zone.js";

/** The part of a migration state that holds what the I/O commands remember. */
export const nvmState = lazily(() =>
  z.strictObject({
    counters: z.array(amount()).check(z.length(5)),
    fused: z.strictObject({ on: integer(-1, 0xffff), status: u32(), at: count(), blocks: u32() }),
    reservations: reservationsState(),
    /** The host, as reservations name it. States of earlier emulators have none. */
    host: z.optional(hostName()),
    placement: placementState(),
  }),
);
export type NvmState = z.output<ReturnType<typeof nvmState>>;

/** Commands that namespaces of all command sets have. */
function isCommonOpcode(opcode: number): boolean {
  return (
    opcode === IoOpcode.flush ||
    opcode === IoOpcode.cancel ||
    opcode === IoOpcode.reservationRegister ||
    opcode === IoOpcode.reservationReport ||
    opcode === IoOpcode.reservationAcquire ||
    opcode === IoOpcode.reservationRelease
  );
}

/** The NVM command set. Handlers return a status. Reads and writes of plain namespaces come first: they are the load. */
export class NvmCommands {
  readonly counters: Float64Array;
  private readonly outcomes: IoOutcomes;
  private readonly withMetadata: MetadataCommands;
  private readonly comparing: CompareCommands;
  private readonly blockState: BlockStateCommands;
  private readonly copying: CopyCommand;
  private readonly zoneCommands: ZoneCommands;
  private readonly keyValues: KeyValueCommands;
  readonly reservations: ReservationCommands;
  private readonly placement: PlacementCommands;
  /** Queue on which the first half of a fused operation came last, -1 for none; its outcome, and its blocks. */
  private fusedOn = -1;
  private fusedStatus: number = NvmeStatus.success;
  private fusedAt = 0;
  private fusedBlocks = 0;
  private readonly grant: ZoneGrant = { status: 0, lba: 0 };

  constructor(private readonly context: IoContext) {
    this.zoneCommands = new ZoneCommands(context);
    this.keyValues = new KeyValueCommands(context);
    this.reservations = new ReservationCommands(context);
    this.placement = new PlacementCommands(context, context.placements);
    const outcomes = new IoOutcomes(this.placement);
    const protection = new CommandProtection(context);
    const buffers = new BlockBuffers(context, protection, outcomes);
    this.outcomes = outcomes;
    this.counters = outcomes.counters;
    this.withMetadata = new MetadataCommands(buffers, protection);
    this.comparing = new CompareCommands(context, buffers, protection, outcomes);
    this.blockState = new BlockStateCommands(context, buffers, protection, outcomes);
    this.copying = new CopyCommand(context, buffers, outcomes);
  }

  /** Grows with every command that may change blocks. */
  get changes(): number {
    return this.outcomes.changes;
  }

  /** The controller was reset. */
  reset(): void {
    this.fusedOn = -1;
    this.reservations.host.reset();
  }

  save(): NvmState {
    return {
      counters: [...this.counters],
      fused: { on: this.fusedOn, status: this.fusedStatus, at: this.fusedAt, blocks: this.fusedBlocks },
      reservations: this.reservations.save(),
      host: this.reservations.host.name,
      placement: this.placement.save(),
    };
  }

  /** @throws ArgumentError if the state is invalid */
  check({ placement }: NvmState): void {
    this.placement.check(placement);
  }

  /** @param saved that check() accepted */
  load({ counters, fused, reservations, host, placement }: NvmState): void {
    this.counters.set(counters);
    this.fusedOn = fused.on;
    this.fusedStatus = fused.status;
    this.fusedAt = fused.at;
    this.fusedBlocks = fused.blocks;
    this.reservations.host.load(host ?? "");
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
      if (opcode === IoOpcode.cancel && nsid === BROADCAST_NSID) return cancel(this.context);
      return NvmeStatus.invalidNamespace;
    }
    if (this.reservations.keepsOut) return NvmeStatus.reservationConflict;
    if (namespace.values !== undefined && !isCommonOpcode(opcode))
      return this.keyValues.execute(namespace.values);
    if (this.context.locks !== undefined && this.isLocked(namespace.nsid)) return NvmeStatus.accessDenied;
    if (((command.sqe[0] ?? 0) & Fuse.MASK) !== 0) return this.fused(namespace);
    if (this.fusedOn === command.sqid) this.fusedOn = -1;
    switch (opcode) {
      case IoOpcode.read:
        return this.read(namespace);
      case IoOpcode.write:
        return this.write(namespace, false);
      case IoOpcode.flush:
        return this.flush();
      case IoOpcode.compare:
        return this.comparing.compare(namespace);
      case IoOpcode.writeZeroes:
        return this.blockState.writeZeroes(namespace);
      case IoOpcode.datasetManagement:
        return this.blockState.datasetManagement(namespace);
      case IoOpcode.writeUncorrectable:
        return this.blockState.writeUncorrectable(namespace);
      case IoOpcode.verify:
        return this.comparing.verify(namespace);
      case IoOpcode.copy:
        return this.copying.execute(namespace);
      case IoOpcode.cancel:
        return cancel(this.context);
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

  /** Whether TCG Opal locks blocks of the command. Those with lists of ranges look for themselves. */
  private isLocked(nsid: number): boolean {
    const { command, locks } = this.context;
    const { opcode } = command;
    const reads = opcode === IoOpcode.read || opcode === IoOpcode.compare || opcode === IoOpcode.verify;
    const writes =
      opcode === IoOpcode.write || opcode === IoOpcode.writeZeroes || opcode === IoOpcode.writeUncorrectable;
    if (!reads && !writes) return false;
    return locks?.refuses(nsid, command.slba, (command.cdw(12) & 0xffff) + 1, writes) === true;
  }

  /**
   * Compare and Write. No other command comes between the two, because all commands of one doorbell write are executed
   * together. A first half without its second is an ordinary Compare.
   */
  private fused(namespace: EmulatedNamespace): number {
    const { command } = this.context;
    const { opcode, sqid } = command;
    const fuse = ((command.sqe[0] ?? 0) & Fuse.MASK) >>> Fuse.SHIFT;
    const blocks = command.cdw(12) & 0xffff;
    if (fuse === Fuse.first) {
      if (opcode !== IoOpcode.compare) return NvmeStatus.invalidField;
      this.fusedOn = sqid;
      this.fusedAt = command.slba;
      this.fusedBlocks = blocks;
      this.fusedStatus = this.comparing.compare(namespace);
      return this.fusedStatus;
    }
    if (fuse !== Fuse.second || opcode !== IoOpcode.write) return NvmeStatus.invalidField;
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
    if (this.crossesStripe(lba * namespace.blockBytes, lengthBytes)) return NvmeStatus.invalidField;
    this.counters[IoCounter.readCommands] = (this.counters[IoCounter.readCommands] ?? 0) + 1;
    this.counters[IoCounter.bytesRead] = (this.counters[IoCounter.bytesRead] ?? 0) + lengthBytes;
    if (namespace.uncorrectable.size > 0 && namespace.uncorrectable.hasAny(lba, blocks))
      return this.outcomes.mediaError();
    if (namespace.zones !== undefined) {
      const status = namespace.zones.readable(lba, blocks);
      if (status !== NvmeStatus.success) return status;
    }
    if (namespace.metadataBytes !== 0) return this.withMetadata.read(namespace, lba, blocks);
    const at = namespace.dataAt + lba * namespace.blockBytes;
    let done: boolean;
    if (!command.faulty && transfer.findPage(command, lengthBytes, true)) {
      const { page } = transfer;
      done = medium.read(at, page.bytes, page.offset, lengthBytes);
    } else {
      const status = transfer.map(command, lengthBytes, true);
      if (status !== NvmeStatus.success) return status;
      done = command.data.fromMedium(medium, at);
      if (command.data.isLost) return NvmeStatus.dataTransferError;
    }
    return done ? NvmeStatus.success : this.outcomes.mediaError();
  }

  private crossesStripe(start: number, lengthBytes: number): boolean {
    const { stripeBytes } = this.context;
    return stripeBytes > 0 && (start % stripeBytes) + lengthBytes > stripeBytes;
  }

  private write(namespace: EmulatedNamespace, append: boolean): number {
    const { command, transfer, medium, maxTransferBytes } = this.context;
    let lba = command.slba;
    const blocks = (command.cdw(12) & 0xffff) + 1;
    const lengthBytes = blocks * namespace.blockBytes;
    if (lba + blocks > namespace.sizeBlocks) return NvmeStatus.lbaOutOfRange;
    if (lengthBytes > maxTransferBytes) return NvmeStatus.invalidField;
    if (this.crossesStripe(lba * namespace.blockBytes, lengthBytes)) return NvmeStatus.invalidField;
    this.counters[IoCounter.writeCommands] = (this.counters[IoCounter.writeCommands] ?? 0) + 1;
    this.counters[IoCounter.bytesWritten] = (this.counters[IoCounter.bytesWritten] ?? 0) + lengthBytes;
    if (namespace.metadataBytes !== 0) return this.withMetadata.write(namespace, lba, blocks);
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
    if (!isPage && command.data.isLost) return NvmeStatus.dataTransferError;
    if (!done) return this.outcomes.writeFault();
    this.outcomes.written(namespace, lba, blocks);
    if (append) {
      command.dw0 = lba % 2 ** 32;
      command.dw1 = Math.floor(lba / 2 ** 32);
    }
    return NvmeStatus.success;
  }

  private flush(): number {
    return this.context.medium.flush() ? NvmeStatus.success : this.outcomes.writeFault();
  }
}
