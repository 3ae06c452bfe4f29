/** Executes a command that a fault hits. */
import { NvmeStatus } from "../../nvme/spec/status.js";
import type { Fault } from "./faults.js";
import { type Command, PENDING } from "./host/command.js";
import type { CompletionPoster } from "./queues/completion-poster.js";
import type { DelayedCommands } from "./queues/delayed-commands.js";
import type { EmulatedSq } from "./queues/queues.js";

/** What faults do to the controller as a whole. */
export interface FaultTarget {
  /** Executes the current command. @returns a status, or PENDING */
  execute(sq: EmulatedSq): number;
  /** Makes registers read all ones. @param durationMs 0 if it lasts until the device is plugged in again */
  vanish(durationMs: number): void;
  /** The device was unplugged. */
  removed(): void;
  /** Sets CSTS.CFS. */
  fail(): void;
}

/** Executes or drops a command as its fault says. */
export class FaultExecution {
  constructor(
    private readonly command: Command,
    private readonly completions: CompletionPoster,
    private readonly delayed: DelayedCommands,
    private readonly target: FaultTarget,
  ) {}

  /** Executes the current command with this fault. */
  execute(fault: Fault, sq: EmulatedSq): void {
    const { command, target } = this;
    switch (fault.kind) {
      case "latency":
        this.delayed.add(sq, fault.latencyMs);
        return;
      case "status":
        this.completions.post(sq.cq, 0, 0, sq.head, sq.id, command.cid, fault.status);
        return;
      case "all-ones":
        target.vanish(fault.durationMs);
        return;
      case "remove":
        target.vanish(0);
        target.removed();
        return;
      case "fatal":
        target.fail();
        return;
      default:
    }
    if (fault.kind === "short-data") command.truncateBytes = fault.bytes;
    command.failsLater = fault.kind === "fail-later";
    command.faulty = true;
    const status = target.execute(sq);
    command.failsLater = false;
    command.faulty = false;
    command.truncateBytes = -1;
    if (status === PENDING) return;
    if (fault.kind === "corrupt-data" && status === NvmeStatus.success) command.data.corrupt();
    if (fault.kind !== "drop") this.complete(fault, sq, status);
  }

  private complete({ kind }: Fault, sq: EmulatedSq, status: number): void {
    const { command, completions } = this;
    const { cq } = sq;
    const phase = kind === "wrong-phase" ? cq.phase ^ 1 : cq.phase;
    const sqid = kind === "wrong-sqid" ? sq.id + 1 : sq.id;
    const cid = kind === "unknown-cid" ? command.cid ^ 0x8000 : command.cid;
    const field = completions.statusField(status, sq.id);
    completions.post(cq, command.dw0, command.dw1, sq.head, sqid, cid, field, phase);
    if (kind === "duplicate-cid" && completions.hasRoom(cq)) {
      completions.post(cq, command.dw0, command.dw1, sq.head, sqid, cid, field);
    }
  }
}
