/** Firmware Image Download and Firmware Commit. */
import { checkBytes, checkInteger, checkKeys, lookUp } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type AdminTarget, adminWrite, requireCommands } from "../command/admin-target.js";
import type { CommandOptions } from "../command/command-options.js";
import { NvmeError } from "../command/error.js";
import { decodeBits, Frmw } from "../spec/capabilities.js";
import { AdminOpcode } from "../spec/opcodes.js";
import { NvmeStatus } from "../spec/status.js";

/** Firmware Commit, CDW10 bits 5:3 (CA). */
export const FirmwareAction = {
  /** Writes the downloaded image to the slot. */
  replace: 0,
  /** Writes the downloaded image to the slot, and activates it at the next reset. */
  replaceAndActivate: 1,
  /** Activates the image in the slot at the next reset. */
  activate: 2,
  /** Activates the downloaded image, or the one in the slot, without a reset. */
  activateNow: 3,
  /** Writes the downloaded image to the boot partition. */
  replaceBootPartition: 6,
  /** Makes the boot partition the active one. */
  activateBootPartition: 7,
} as const;

/** The reset that committed firmware needs before it runs. */
export type FirmwareActivation = "none" | "conventional reset" | "subsystem reset" | "controller reset";

/** Result of {@link NvmeFirmware.commit}. */
export interface FirmwareCommitResult {
  /** The reset that is needed in addition to the one that the action implies. */
  readonly needs: FirmwareActivation;
  /** Overlapping updates that the controller detected (MUD): bit 0 firmware, bit 1 boot partition. */
  readonly overlap: number;
}

/** Options of {@link NvmeFirmware.commit}. */
export interface FirmwareCommitOptions extends CommandOptions {
  /** Firmware slot, 1 to 7; 0 (default): the controller chooses. */
  readonly slot?: number | undefined;
  /** Boot partition, for the actions on boot partitions; 0 by default. */
  readonly bootPartition?: 0 | 1 | undefined;
}

const commitOptions: readonly (keyof FirmwareCommitOptions)[] = [
  "timeoutMs",
  "signal",
  "slot",
  "bootPartition",
];

/** Unit of FWUG, and the granularity of a controller that reports none. */
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

  /** Firmware slots (FRMW). */
  get slots(): {
    /** Number of slots, 1 to 7. */
    readonly count: number;
    /** Whether slot 1 is read-only. */
    readonly firstReadOnly: boolean;
    /** Whether an image can be activated without a reset. */
    readonly withoutReset: boolean;
  } {
    const { slots, firstSlotReadOnly, activationWithoutReset } = decodeBits(this.target.identify.frmw, Frmw);
    return { count: slots, firstReadOnly: firstSlotReadOnly, withoutReset: activationWithoutReset };
  }

  /** The size of each piece of a download is a multiple of this, in bytes (FWUG). */
  get granularityBytes(): number {
    const { fwug } = this.target.identify;
    if (fwug === NO_RESTRICTION) return 4;
    return fwug === 0 ? GRANULARITY_BYTES : fwug * GRANULARITY_BYTES;
  }

  /**
   * Sends an image, in pieces of a size that the controller accepts. It has no effect before commit().
   * @param image a multiple of 4 bytes
   * @throws UnsupportedError, ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async download(image: Uint8Array, limits?: CommandOptions): Promise<void> {
    if (limits !== undefined) checkKeys("limits", limits, ["timeoutMs", "signal"]);
    requireCommands(this.target, "firmware");
    checkBytes("image", image);
    if (image.length === 0 || image.length % 4 !== 0) {
      throw new ArgumentError(`image.length must be a multiple of 4 and not 0, got ${image.length}`);
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
    checkKeys("options", options, commitOptions);
    requireCommands(this.target, "firmware");
    const { slot = 0, bootPartition = 0, ...limits } = options;
    const code = lookUp("action", action, FirmwareAction);
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
      // Some status codes report success, and the reset that must follow.
      const needs =
        error instanceof NvmeError ? resets.get((error.statusCodeType << 8) | error.statusCode) : undefined;
      if (needs === undefined) throw error;
      return { needs, overlap: 0 };
    }
  }

  /** Sends an image and commits it. @throws as download() and commit() */
  async update(
    image: Uint8Array,
    action: "replace" | "replaceAndActivate" | "activateNow",
    options: FirmwareCommitOptions = {},
  ): Promise<FirmwareCommitResult> {
    checkKeys("options", options, commitOptions);
    const { slot: _, bootPartition: __, ...limits } = options;
    await this.download(image, limits);
    return await this.commit(action, options);
  }
}
