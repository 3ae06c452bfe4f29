import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type AdminTarget, adminWrite, requireCommands } from "../command/admin-target.js";
import type { CommandOptions } from "../command/command-options.js";
import { NvmeError } from "../command/error.js";
import { decodeBits, Frmw } from "../spec/capabilities.js";
import { AdminOpcode } from "../spec/opcodes.js";
import { NvmeStatus } from "../spec/status.js";

/** Firmware Commit, CDW10 bits 5:3 (CA). */
export const FirmwareAction = {
  /** The downloaded image goes into the slot. */
  replace: 0,
  /** And runs after the next reset. */
  replaceAndActivate: 1,
  /** What is in the slot runs after the next reset. */
  activate: 2,
  /** The downloaded image, or what is in the slot, runs at once. */
  activateNow: 3,
  replaceBootPartition: 6,
  activateBootPartition: 7,
} as const;

/** What has to happen before committed firmware runs. */
export type FirmwareActivation = "none" | "conventional reset" | "subsystem reset" | "controller reset";

/** Answer to Firmware Commit. */
export interface FirmwareCommitResult {
  /** The reset that is still needed, besides the one that the action names itself. */
  readonly needs: FirmwareActivation;
  /** Overlapping downloads that the controller noticed (MUD): bit 0 firmware, bit 1 boot partition. */
  readonly overlap: number;
}

/** Options of {@link NvmeFirmware.commit}. */
export interface FirmwareCommitOptions extends CommandOptions {
  /** 1 to 7; 0 lets the controller choose. */
  readonly slot?: number | undefined;
  /** For the boot partition actions: 0 or 1. */
  readonly bootPartition?: 0 | 1 | undefined;
}

/** Unit of FWUG, and what a piece is where the controller doesn't say. */
const GRANULARITY_BYTES = 4096;
const NO_RESTRICTION = 0xff;
const SLOTS = 7;

const resets = new Map<number, FirmwareActivation>([
  [NvmeStatus.firmwareActivationRequiresConventionalReset, "conventional reset"],
  [NvmeStatus.firmwareActivationRequiresNvmSubsystemReset, "subsystem reset"],
  [NvmeStatus.firmwareActivationRequiresControllerLevelReset, "controller reset"],
]);

/** Firmware of a controller (NVMe Base 2.x, sections "Firmware Commit" and "Firmware Image Download"). */
export class NvmeFirmware {
  constructor(private readonly target: AdminTarget) {}

  /** How many slots there are, and whether the first can't be written. */
  get slots(): { readonly count: number; readonly firstReadOnly: boolean; readonly withoutReset: boolean } {
    const { slots, firstSlotReadOnly, activationWithoutReset } = decodeBits(this.target.identify.frmw, Frmw);
    return { count: slots, firstReadOnly: firstSlotReadOnly, withoutReset: activationWithoutReset };
  }

  /** Bytes that pieces of a download are a multiple of, as the controller asks (FWUG). */
  get granularityBytes(): number {
    const { fwug } = this.target.identify;
    if (fwug === NO_RESTRICTION) return 4;
    return fwug === 0 ? GRANULARITY_BYTES : fwug * GRANULARITY_BYTES;
  }

  /**
   * Sends an image, in pieces that the controller can take; commit() makes it count.
   * @param image whole dwords
   * @throws UnsupportedError, ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async download(image: Uint8Array, limits?: CommandOptions): Promise<void> {
    requireCommands(this.target, "firmware");
    if (image.length === 0 || image.length % 4 !== 0) {
      throw new ArgumentError(`a firmware image has whole dwords: ${image.length} bytes`);
    }
    const unit = this.granularityBytes;
    const most = Math.max(unit, Math.floor(this.target.maxTransferBytes / unit) * unit);
    for (let at = 0; at < image.length; at += most) {
      const piece = image.subarray(at, at + most);
      const command = {
        name: `Firmware Image Download (offset ${at})`,
        opcode: AdminOpcode.firmwareImageDownload,
        cdw10: piece.length / 4 - 1,
        cdw11: at / 4,
      };
      await adminWrite(this.target, command, piece, limits);
    }
  }

  /**
   * Firmware Commit.
   * @throws UnsupportedError, ArgumentError, NvmeError (bad image, bad slot, activation prohibited), TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async commit(
    action: keyof typeof FirmwareAction,
    options: FirmwareCommitOptions = {},
  ): Promise<FirmwareCommitResult> {
    requireCommands(this.target, "firmware");
    const { slot = 0, bootPartition = 0, ...limits } = options;
    const code = FirmwareAction[action];
    if (code === undefined) {
      throw new ArgumentError(`action must be one of ${Object.keys(FirmwareAction).join(", ")}`);
    }
    checkInteger("slot", slot, 0, SLOTS);
    checkInteger("bootPartition", bootPartition, 0, 1);
    const command = {
      name: `Firmware Commit (${action}, slot ${slot})`,
      opcode: AdminOpcode.firmwareCommit,
      cdw10: (slot | (code << 3) | (bootPartition << 31)) >>> 0,
    };
    try {
      const { dw0 } = await this.target.admin(command, limits);
      return { needs: "none", overlap: dw0 & 3 };
    } catch (error) {
      // Some of the "errors" say that it worked, and what comes next.
      const needs =
        error instanceof NvmeError ? resets.get((error.statusCodeType << 8) | error.statusCode) : undefined;
      if (needs === undefined) throw error;
      return { needs, overlap: 0 };
    }
  }

  /** Both: sends an image and commits it. @throws as download() and commit() */
  async update(
    image: Uint8Array,
    action: "replace" | "replaceAndActivate" | "activateNow",
    options: FirmwareCommitOptions = {},
  ): Promise<FirmwareCommitResult> {
    await this.download(image, options);
    return await this.commit(action, options);
  }
}
