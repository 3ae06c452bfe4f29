/** Cancel: aborts outstanding commands of one I/O queue, on that queue itself (NVMe Base 2.x, section "Cancel command"). */
import { checkInteger, checkKeys, checkU32 } from "../../core/check.js";
import { BROADCAST_NSID, CancelAction, IoOpcode } from "../spec/opcodes.js";
import type { NvmeCommand, NvmeCompletion } from "./command.js";
import type { IoCommandOptions } from "./command-options.js";
import type { NvmeQueue } from "./queue.js";
import { whereSupported } from "./supported.js";

/** Options of {@link NvmeController.cancel}. */
export interface CancelOptions {
  /** Namespace of the commands; FFFFFFFFh (default): any. */
  readonly nsid?: number | undefined;
  /**
   * Identifier of the one command to cancel, 0 to FFFEh, as the channel `iova:nvme:submit` and raw rings tell it; all
   * commands by default.
   */
  readonly cid?: number | undefined;
}

/** What Cancel did. A command that was aborted ends with Command Abort Requested. */
export interface CancelResult {
  /** Commands that the controller aborted at once (CMDA); FFFFh: so many or more. */
  readonly aborted: number;
  /** Commands that it may abort later (CEDA); FFFFh: so many or more. */
  readonly deferred: number;
}

/** What Cancel needs of a controller. */
interface CancelTarget {
  readonly bdf: string;
  submitIo(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion>;
}

const ALL_COMMANDS = 0xffff;
const U16_MASK = 0xffff;

/** Sends a Cancel command. @throws as NvmeController.cancel() */
export async function cancelCommands(
  target: CancelTarget,
  queue: NvmeQueue,
  options: CancelOptions,
): Promise<CancelResult> {
  checkKeys("options", options, ["nsid", "cid"]);
  const { nsid = BROADCAST_NSID, cid } = options;
  checkU32("nsid", nsid);
  if (cid !== undefined) checkInteger("cid", cid, 0, ALL_COMMANDS - 1);
  const command = {
    name: "Cancel",
    opcode: IoOpcode.cancel,
    nsid,
    cdw10: (queue.id | ((cid ?? ALL_COMMANDS) << 16)) >>> 0,
    cdw11: cid === undefined ? CancelAction.multiple : CancelAction.single,
  };
  // Only the Commands Supported and Effects log says whether there is a Cancel; a refusal says it without the log.
  const { dw0 } = await whereSupported(`the controller ${target.bdf} has no Cancel command`, () =>
    target.submitIo(command, { queue }),
  );
  return { aborted: dw0 & U16_MASK, deferred: dw0 >>> 16 };
}
