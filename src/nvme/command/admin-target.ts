/** Admin commands that transfer bytes, and the interface of a controller that they need. */
import { BusyError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { QuirkTarget } from "../quirks/quirks.js";
import { decodeBits, Oacs } from "../spec/capabilities.js";
import type { IdentifyController } from "../spec/identify.js";
import type { CommandData, NvmeCommand, NvmeCompletion } from "./command.js";
import type { CommandOptions } from "./command-options.js";

/** The controller, as the classes of its API use it. */
export interface AdminTarget extends QuirkTarget {
  /** The address space that the controller is attached to. */
  readonly dma: DmaSpace;
  /** Identify Controller, as read when the controller was opened. */
  readonly identify: IdentifyController;
  /** Longest transfer of one command in bytes (MDTS). */
  readonly maxTransferBytes: number;
  /** Sends an admin command. @throws as NvmeController.admin() */
  admin(command: NvmeCommand, limits?: CommandOptions): Promise<NvmeCompletion>;
}

/** Sends an admin command that reads data from the controller. @throws as NvmeController.admin() */
export async function adminRead(
  target: Pick<AdminTarget, "dma" | "admin">,
  command: Omit<NvmeCommand, "data">,
  sizeBytes: number,
  limits?: CommandOptions,
): Promise<{ readonly bytes: Uint8Array; readonly completion: NvmeCompletion }> {
  const buffer = target.dma.alloc(sizeBytes);
  try {
    const data: CommandData = { buffer, length: sizeBytes };
    const completion = await target.admin({ ...command, data }, limits);
    return { bytes: buffer.bytes.slice(0, sizeBytes), completion };
  } finally {
    giveBack(buffer);
  }
}

/** Sends an admin command that writes data to the controller. @throws as NvmeController.admin() */
export async function adminWrite(
  target: Pick<AdminTarget, "dma" | "admin">,
  command: Omit<NvmeCommand, "data">,
  bytes: Uint8Array,
  limits?: CommandOptions,
): Promise<NvmeCompletion> {
  const buffer = target.dma.alloc(bytes.length);
  try {
    buffer.bytes.set(bytes);
    return await target.admin({ ...command, data: { buffer, length: bytes.length } }, limits);
  } finally {
    giveBack(buffer);
  }
}

/** Interval between attempts to close a buffer that an abandoned command uses. */
const RETRY_MS = 50;

/** Closes a buffer. If an abandoned command still uses it, closes it after that command has completed. */
function giveBack(buffer: DmaBuffer): void {
  try {
    buffer.close();
  } catch (error) {
    if (!(error instanceof BusyError)) throw error;
    const timer = setTimeout(() => giveBack(buffer), RETRY_MS);
    timer.unref();
  }
}

/** @throws UnsupportedError if the controller doesn't support the commands (OACS) */
export function requireCommands(target: AdminTarget, which: keyof typeof Oacs): void {
  if (!decodeBits(target.identify.oacs, Oacs)[which]) {
    throw new UnsupportedError(`${target.bdf} doesn't support ${names[which]} (Identify Controller, OACS)`);
  }
}

const names: Readonly<Record<keyof typeof Oacs, string>> = {
  security: "Security Send and Receive",
  format: "Format NVM",
  firmware: "Firmware Image Download and Commit",
  namespaceManagement: "Namespace Management and Attachment",
  deviceSelfTest: "Device Self-test",
  directives: "Directive Send and Receive",
  nvmeMi: "NVMe-MI Send and Receive",
  virtualizationManagement: "Virtualization Management",
  doorbellBufferConfig: "Doorbell Buffer Config",
  getLbaStatus: "Get LBA Status",
  lockdown: "Lockdown",
  hostManagedLiveMigration: "Host Managed Live Migration",
};
