/** The Get LBA Status command (NVM Command Set 1.x). */
import { checkInteger, checkKeys, lookUp } from "../../core/check.js";
import { type AdminTarget, adminRead, requireCommands } from "../command/admin-target.js";
import { decodeLbaStatus, type LbaStatusList } from "../command/lba-status.js";
import { AdminOpcode } from "../spec/opcodes.js";
import { checkLba, lbaDwords } from "./lba.js";

/** CDW13 bits 31:24 (ATYPE). */
const actions = { allocated: 0x02, scan: 0x10, tracked: 0x11 } as const;
const HEADER_DWORDS = 2;
const DESCRIPTOR_DWORDS = 4;
const MOST_DESCRIPTORS = 255;

/** Options of {@link NvmeNamespace.lbaStatus}. */
export interface LbaStatusOptions {
  /** What is looked for; `tracked` by default. */
  readonly action?: keyof typeof actions | undefined;
  /** Number of blocks, 1 to 65535; to the end of the namespace by default. */
  readonly blocks?: number | undefined;
  /** Most descriptors that are transferred; 255 by default. */
  readonly most?: number | undefined;
}

/** See {@link NvmeNamespace.lbaStatus}. */
export async function readLbaStatus(
  target: AdminTarget,
  nsid: number,
  lba: bigint | number,
  options: LbaStatusOptions,
): Promise<LbaStatusList> {
  checkKeys("options", options, ["action", "blocks", "most"]);
  requireCommands(target, "getLbaStatus");
  checkLba("lba", lba);
  const { action = "tracked", blocks, most = MOST_DESCRIPTORS } = options;
  const limit = Math.floor(target.maxTransferBytes / 16) - 1;
  checkInteger("most", most, 1, limit);
  const range = blocks === undefined ? 0 : checkInteger("blocks", blocks, 1, 0xffff);
  const dwords = HEADER_DWORDS + DESCRIPTOR_DWORDS * most;
  const command = {
    name: "Get LBA Status",
    opcode: AdminOpcode.getLbaStatus,
    nsid,
    ...lbaDwords(lba),
    cdw12: dwords - 1,
    cdw13: ((lookUp("action", action, actions) << 24) | range) >>> 0,
  };
  return decodeLbaStatus((await adminRead(target, command, 4 * dwords)).bytes);
}
