/** Cancel: aborts commands that wait in the queue on which it comes. */
import { BROADCAST_NSID, CancelAction } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import { PENDING } from "../../host/command.js";
import type { IoContext } from "./io-context.js";

const U16_MASK = 0xffff;
const ALL_COMMANDS = 0xffff;

/** Executes the current command, whose namespace exists or is all of them. @returns a status, or PENDING */
export function cancel({ command, outstanding }: IoContext): number {
  const { nsid, sqid } = command;
  const cid = command.cdw(10) >>> 16;
  const action = command.cdw(11) & 3;
  if ((command.cdw(10) & U16_MASK) !== sqid) return NvmeStatus.invalidField;
  if (action === CancelAction.single) {
    if (cid === command.cid) return NvmeStatus.invalidCommandId;
    const owner = outstanding.nsidOf(sqid, cid);
    if (owner !== undefined && nsid !== BROADCAST_NSID && owner !== nsid) return NvmeStatus.invalidField;
  } else if (action !== CancelAction.multiple || cid !== ALL_COMMANDS) return NvmeStatus.invalidField;
  const aborted = outstanding.abort(sqid, nsid, action === CancelAction.single ? cid : undefined);
  // The commands that it aborts complete before it.
  outstanding.completeAfter(Math.min(aborted, U16_MASK));
  return PENDING;
}
