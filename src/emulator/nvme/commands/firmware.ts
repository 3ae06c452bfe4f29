/** Firmware Image Download and Firmware Commit. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { CommandEffects, firmwareSlotLog } from "../../../nvme/spec/log-pages.js";
import { AdminOpcode, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import type { BootPartitions } from "../medium/boot-partitions.js";
import {
  type FirmwareReset,
  firmwareResets,
  MAX_FIRMWARE_BYTES,
  readFirmware,
} from "../medium/firmware-image.js";
import { FIRMWARE_SLOTS, type PersistentStore } from "../medium/persistent-state.js";
import { type AdminService, savedPart } from "./admin-service.js";

/** The part of a migration state that holds firmware that was downloaded and not committed. */
const firmwareState = lazily(() =>
  z.strictObject({
    /** Downloaded and not committed: where, and base64. */
    pieces: z
      .array(z.tuple([integer(0, MAX_FIRMWARE_BYTES), z.base64().check(z.maxLength(MAX_FIRMWARE_BYTES * 2))]))
      .check(z.maxLength(1024)),
    overlap: integer(0, 1),
  }),
);
type FirmwareState = z.output<ReturnType<typeof firmwareState>>;

/** FRMW: the first slot can't be written; activation without reset; overlapping updates are noticed. */
export const FIRMWARE_UPDATES = 1 | (FIRMWARE_SLOTS << 1) | (1 << 4) | (1 << 5);
/** FWUG: pieces of 4 KiB. */
export const FIRMWARE_GRANULARITY = 1;
/** MTFA: activation stops commands for no longer, in 100 ms. */
export const FIRMWARE_ACTIVATION_TIME = 1;

const PIECE_BYTES = 4096;
const READ_ONLY_SLOT = 1;
/** Of the log: FRS1, and what each takes. */
const REVISIONS_AT = 8;
const REVISION_BYTES = 8;
/** Commit Action, CDW10 bits 5:3. */
const Action = {
  ...{ replace: 0, replaceAndActivate: 1, activate: 2, activateNow: 3 },
  ...{ replaceBootPartition: 6, activateBootPartition: 7 },
} as const;
/** MUD in DW0: an update began before another was committed, of firmware or of a boot partition. */
const OVERLAP_FIRMWARE = 1;
const OVERLAP_BOOT_PARTITION = 2;

/** A piece of an image that was downloaded. */
interface Piece {
  readonly at: number;
  readonly bytes: Uint8Array;
}

const activation: Readonly<Record<FirmwareReset, number>> = {
  none: NvmeStatus.success,
  controller: NvmeStatus.firmwareActivationRequiresControllerLevelReset,
  conventional: NvmeStatus.firmwareActivationRequiresConventionalReset,
  subsystem: NvmeStatus.firmwareActivationRequiresNvmSubsystemReset,
};

/** What firmware needs of its controller. */
export interface FirmwareContext {
  readonly command: Command;
  readonly transfer: Transfer;
  readonly inventory: PersistentStore;
  readonly maxTransferBytes: number;
  readonly bootPartitions: BootPartitions | undefined;
  /** Firmware begins to run without a reset. */
  activating(): void;
}

/** Firmware Image Download and Commit. Images contain no program: a slot holds only a revision. */
export class Firmware implements AdminService {
  readonly commands = {
    [AdminOpcode.firmwareImageDownload]: { execute: () => this.download(), lockable: true },
    [AdminOpcode.firmwareCommit]: {
      execute: () => this.commit(),
      effects: CommandEffects.CCC,
      lockable: true,
    },
  };
  readonly logPages = { [LogPageId.firmwareSlot]: { page: () => this.page() } };
  readonly saved = savedPart(
    "firmware",
    firmwareState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  private pieces: Piece[] = [];
  private overlap = 0;

  constructor(private readonly context: FirmwareContext) {}

  /** FR of Identify. */
  static revision({ persistent }: PersistentStore): string {
    const { active, slots } = persistent.firmware;
    return slots.find(({ slot }) => slot === active)?.revision ?? "";
  }

  private download(): number {
    const { command, transfer, maxTransferBytes } = this.context;
    const lengthBytes = (command.cdw(10) + 1) * 4;
    const at = command.cdw(11) * 4;
    if (lengthBytes > maxTransferBytes || at % PIECE_BYTES !== 0) return NvmeStatus.invalidField;
    if (at + lengthBytes > MAX_FIRMWARE_BYTES) return NvmeStatus.invalidField;
    const restarts = at === 0 && this.pieces.length > 0;
    const pieces = restarts ? [] : this.pieces;
    if (pieces.some((one) => at < one.at + one.bytes.length && one.at < at + lengthBytes)) {
      return NvmeStatus.overlappingRange;
    }
    const bytes = new Uint8Array(lengthBytes);
    const status = transfer.fetch(command, bytes);
    if (status !== NvmeStatus.success) return status;
    if (restarts) this.overlap = OVERLAP_FIRMWARE;
    this.pieces = [...pieces, { at, bytes }];
    return NvmeStatus.success;
  }

  private commit(): number {
    const { command, inventory } = this.context;
    const cdw10 = command.cdw(10);
    const action = (cdw10 >>> 3) & 7;
    const { firmware } = inventory.persistent;
    if (action >= Action.replaceBootPartition) return this.commitBootPartition(action, cdw10 >>> 31);
    if (action > Action.activateNow) return NvmeStatus.invalidField;
    const asked = cdw10 & 7;
    if (asked > FIRMWARE_SLOTS) return NvmeStatus.invalidFirmwareSlot;
    const replaces =
      action <= Action.replaceAndActivate || (action === Action.activateNow && this.pieces.length > 0);
    let { slots } = firmware;
    const slot = asked !== 0 ? asked : replaces ? spareSlot(firmware.active) : 0;
    if (slot === 0) return NvmeStatus.invalidFirmwareSlot;
    if (replaces) {
      if (slot === READ_ONLY_SLOT) return NvmeStatus.invalidFirmwareSlot;
      const image = this.whole();
      const found = image === undefined ? undefined : readFirmware(image);
      command.dw0 = this.overlap;
      this.discard();
      if (found === undefined) return NvmeStatus.invalidFirmwareImage;
      slots = [...slots.filter((one) => one.slot !== slot), { slot, ...found }];
    }
    const image = slots.find((one) => one.slot === slot);
    if (image === undefined) return NvmeStatus.invalidFirmwareImage;
    const runsNow = action === Action.activateNow && image.needs === "none";
    const runsLater = action !== Action.replace && !runsNow;
    const done = inventory.persist({
      firmware: {
        slots,
        active: runsNow ? slot : firmware.active,
        next: runsNow ? 0 : runsLater ? slot : firmware.next,
      },
    });
    if (!done) return NvmeStatus.internalError;
    if (runsNow) this.context.activating();
    if (!runsLater) return NvmeStatus.success;
    // The host expects a controller reset with this action, so no status mentions it.
    if (action !== Action.activateNow && image.needs === "controller") return NvmeStatus.success;
    return activation[image.needs];
  }

  /** @param id BPID */
  private commitBootPartition(action: number, id: number): number {
    const { command, bootPartitions } = this.context;
    if (bootPartitions === undefined) return NvmeStatus.invalidField;
    if (bootPartitions.isLocked(id)) return NvmeStatus.bootPartitionWriteProhibited;
    if (action === Action.activateBootPartition) {
      return bootPartitions.activate(id) ? NvmeStatus.success : NvmeStatus.internalError;
    }
    const image = this.whole();
    command.dw0 = this.overlap === 0 ? 0 : OVERLAP_BOOT_PARTITION;
    this.discard();
    if (image === undefined || image.length === 0 || image.length > bootPartitions.sizeBytes)
      return NvmeStatus.invalidFirmwareImage;
    return bootPartitions.replace(id, image) ? NvmeStatus.success : NvmeStatus.internalError;
  }

  /** The Firmware Slot Information log. */
  private page(): Uint8Array {
    const { active, next, slots } = this.context.inventory.persistent.firmware;
    const frs = new Array<string>(FIRMWARE_SLOTS).fill("");
    for (const { slot, revision } of slots) frs[slot - 1] = revision;
    const page = firmwareSlotLog.encode({ afi: active | (next << 4), frs });
    // The revision of an empty slot is zeros, not spaces.
    for (const [i, revision] of frs.entries()) {
      const at = REVISIONS_AT + i * REVISION_BYTES;
      if (revision === "") page.fill(0, at, at + REVISION_BYTES);
    }
    return page;
  }

  /** Status that tells which reset committed firmware waits for; undefined if none waits. */
  get pending(): number | undefined {
    const { next, slots } = this.context.inventory.persistent.firmware;
    if (next === 0) return undefined;
    const needs = slots.find(({ slot }) => slot === next)?.needs ?? "none";
    return activation[needs === "none" ? "controller" : needs];
  }

  /** Discards images that aren't committed, and activates firmware that waited for this reset. */
  reset(kind: FirmwareReset): void {
    this.discard();
    const { inventory } = this.context;
    const { next, slots } = inventory.persistent.firmware;
    const image = slots.find(({ slot }) => slot === next);
    if (image === undefined || rank(image.needs) > rank(kind)) return;
    inventory.persist({ firmware: { slots, active: next, next: 0 } });
  }

  private save(): FirmwareState {
    return {
      pieces: this.pieces.map(({ at, bytes }) => [at, Buffer.from(bytes).toString("base64")]),
      overlap: this.overlap,
    };
  }

  private load({ pieces, overlap }: FirmwareState): void {
    this.pieces = pieces.map(([at, text]) => ({ at, bytes: Buffer.from(text, "base64") }));
    this.overlap = overlap;
  }

  private discard(): void {
    this.pieces = [];
    this.overlap = 0;
  }

  /** All pieces together, or undefined if some are missing. */
  private whole(): Uint8Array | undefined {
    const pieces = [...this.pieces].sort((a, b) => a.at - b.at);
    let end = 0;
    for (const { at, bytes } of pieces) {
      if (at !== end) return undefined;
      end += bytes.length;
    }
    return Buffer.concat(pieces.map(({ bytes }) => bytes));
  }
}

function rank(reset: FirmwareReset): number {
  return firmwareResets.indexOf(reset);
}

/** A slot that can be written and isn't the running one's. */
function spareSlot(active: number): number {
  for (let slot = FIRMWARE_SLOTS; slot > READ_ONLY_SLOT; slot--) if (slot !== active) return slot;
  return 0;
}
