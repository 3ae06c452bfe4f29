/** What the parts of the controller API need of the controller, and admin commands that carry bytes. */
import { BusyError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { decodeBits, Oacs } from "../spec/capabilities.js";
import type { IdentifyController } from "../spec/identify.js";
import type { CommandData, NvmeCommand, NvmeCompletion } from "./command.js";
import type { CommandOptions } from "./command-options.js";

/** What the parts of a controller's API need of the controller. */
export interface AdminTarget {
  /** PCI address, for messages. */
  readonly bdf: string;
  /** The address space that the controller is attached to. */
  readonly dma: DmaSpace;
  /** Identify Controller, as read when the controller was opened. */
  readonly identify: IdentifyController;
  /** Longest transfer of one command in bytes (MDTS). */
  readonly maxTransferBytes: number;
  /** Sends an admin command. @throws as NvmeController.admin() */
  admin(command: NvmeCommand, limits?: CommandOptions): Promise<NvmeCompletion>;
}

/** An admin command whose data comes from the controller. @throws as NvmeController.admin() */
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

/** An admin command whose data goes to the controller. @throws as NvmeController.admin() */
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

/** How often a buffer is looked at that a command which was given up still has. */
const RETRY_MS = 50;

/** Closes a buffer; one that a command which was given up still has, as soon as the controller has answered. */
function giveBack(buffer: DmaBuffer): void {
  try {
    buffer.close();
  } catch (error) {
    if (!(error instanceof BusyError)) throw error;
    const timer = setTimeout(() => giveBack(buffer), RETRY_MS);
    timer.unref();
  }
}

/** @throws UnsupportedError where the controller says (OACS) that it has no such commands */
export function requireCommands(target: AdminTarget, which: keyof typeof Oacs): void {
  if (!decodeBits(target.identify.oacs, Oacs)[which]) {
    throw new UnsupportedError(`${target.bdf} does not have ${names[which]} (Identify Controller, OACS)`);
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
