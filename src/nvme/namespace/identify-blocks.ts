/** Identify Namespace as needed to transfer blocks: the data structure and the format of the blocks. */
import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { AdminTarget } from "../command/admin-target.js";
import { readIdentify, trusted } from "../command/identify.js";
import { Ctratt, Dps, decodeBits } from "../spec/capabilities.js";
import {
  type ExtendedLbaFormat,
  type IdentifyNamespace,
  identifyNamespace,
  identifyNvmNamespace,
} from "../spec/identify.js";
import { decodeNamespaceDescriptors } from "../spec/namespace-descriptors.js";
import { BROADCAST_NSID, CommandSet, IdentifyCns } from "../spec/opcodes.js";
import { type BlockFormat, blockFormatOf } from "./block-format.js";

/** What Identify says about a namespace and its blocks. */
export interface IdentifiedBlocks {
  readonly identify: IdentifyNamespace;
  readonly format: BlockFormat;
}

/** Reads Identify Namespace and how the blocks are transferred. @throws as NvmeController.namespace() */
export async function identifyBlocks(controller: AdminTarget, nsid: number): Promise<IdentifiedBlocks> {
  checkInteger("nsid", nsid, 1, BROADCAST_NSID - 1);
  const page = await readIdentify(controller, IdentifyCns.namespace, { nsid });
  const identify = trusted(controller, identifyNamespace.decode(page));
  // For an id that is valid but not active the controller returns zeros.
  if (identify.nsze === 0n) throw new ArgumentError(`there is no active namespace ${nsid}`);
  let extension: ExtendedLbaFormat | undefined;
  const isProtected = decodeBits(identify.dps, Dps).type !== 0;
  if (isProtected && decodeBits(controller.identify.ctratt, Ctratt).extendedLbaFormats) {
    const extended = await readIdentify(controller, IdentifyCns.namespaceForCommandSet, {
      nsid,
      csi: CommandSet.nvm,
    });
    extension = identifyNvmNamespace.decode(extended).elbaf[lbaFormatIndex(identify)];
  }
  return { identify, format: blockFormatOf(nsid, identify, extension) };
}

/** The I/O command set of a namespace (CNS 03h); NVM if the controller doesn't report one. */
export async function commandSetOf(controller: AdminTarget, nsid: number): Promise<number> {
  const page = await readIdentify(controller, IdentifyCns.namespaceDescriptors, { nsid });
  return decodeNamespaceDescriptors(page).csi ?? CommandSet.nvm;
}

/** Index of the current LBA format: FLBAS bits 3:0, and bits 6:5 above them. */
export function lbaFormatIndex({ flbas, nlbaf }: IdentifyNamespace): number {
  return (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
}
