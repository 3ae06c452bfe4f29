import type { DmaSpace } from "../dma/space.js";
import type { CommandData, NvmeCommand, NvmeCompletion } from "./command.js";
import type { IdentifyController } from "./spec/identify.js";

/** What the parts of a controller's API need of the controller. */
export interface AdminTarget {
  /** PCI address, for messages. */
  readonly bdf: string;
  readonly dma: DmaSpace;
  readonly identify: IdentifyController;
  readonly maxTransferBytes: number;
  admin(command: NvmeCommand): Promise<NvmeCompletion>;
}

/** An admin command whose data comes from the controller. @throws as NvmeController.admin() */
export async function adminRead(
  target: AdminTarget,
  command: Omit<NvmeCommand, "data">,
  sizeBytes: number,
): Promise<{ readonly bytes: Uint8Array; readonly completion: NvmeCompletion }> {
  const buffer = target.dma.alloc(sizeBytes);
  try {
    const data: CommandData = { buffer, length: sizeBytes };
    const completion = await target.admin({ ...command, data });
    return { bytes: buffer.bytes.slice(0, sizeBytes), completion };
  } finally {
    buffer.close();
  }
}

/** An admin command whose data goes to the controller. @throws as NvmeController.admin() */
export async function adminWrite(
  target: AdminTarget,
  command: Omit<NvmeCommand, "data">,
  bytes: Uint8Array,
): Promise<NvmeCompletion> {
  const buffer = target.dma.alloc(bytes.length);
  try {
    buffer.bytes.set(bytes);
    return await target.admin({ ...command, data: { buffer, length: bytes.length } });
  } finally {
    buffer.close();
  }
}
