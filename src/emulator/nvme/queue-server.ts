/** Executes the commands of one submission queue. */
import { AsyncEventInfo } from "../../nvme/spec/opcodes.js";
import { SQE_WORDS } from "../../nvme/spec/queue-entries.js";
import { acquire, weaklyOrdered } from "../../sys/mmio.js";
import type { AdminDispatcher } from "./commands/admin.js";
import type { NvmCommands } from "./commands/io/nvm.js";
import type { FaultExecution } from "./fault-execution.js";
import type { Faults } from "./faults.js";
import { type Command, PENDING } from "./host/command.js";
import type { CompletionPoster } from "./queues/completion-poster.js";
import type { DelayedCommands } from "./queues/delayed-commands.js";
import type { IoWatch } from "./queues/io-watch.js";
import type { EmulatedSq } from "./queues/queues.js";
import type { ScatteredEntries } from "./queues/scattered-entries.js";
import type { RunState } from "./run-state.js";

// V8 compiles a constant of this module into the code, but looks an imported one up at each use.
const mustOrder = weaklyOrdered;

/** What the server tells the controller. */
export interface QueueServerEvents {
  /** The host wrote a wrong doorbell. @param info of the asynchronous event */
  invalidDoorbell(info: number): void;
  /** A queue is no longer in memory. */
  queueLost(): void;
}

/** Takes commands from a submission queue, and executes and completes them. */
export class QueueServer {
  constructor(
    private readonly command: Command,
    private readonly completions: CompletionPoster,
    private readonly admin: AdminDispatcher,
    private readonly nvm: NvmCommands,
    private readonly faults: Faults,
    private readonly faultExecution: FaultExecution,
    private readonly delayed: DelayedCommands,
    private readonly state: RunState,
    private readonly scattered: ScatteredEntries,
    private readonly events: QueueServerEvents,
    /** What is called before the commands of an I/O queue. */
    private readonly watches: readonly IoWatch[],
  ) {}

  /**
   * Executes entries up to `tail`, `limit` of them at most, as long as there is room for their completions.
   * @returns how many
   */
  serve(sq: EmulatedSq, tail: number, limit: number): number {
    if (tail >= sq.entries) {
      if (sq.badTail !== tail) this.events.invalidDoorbell(AsyncEventInfo.error.invalidDoorbellValue);
      sq.badTail = tail;
      return 0;
    }
    const { cq, span } = sq;
    if (!sq.mapped || !cq.mapped) {
      this.events.queueLost();
      return 0;
    }
    if (sq.deafUntil > 0) {
      if (performance.now() < sq.deafUntil) sq.head = tail;
      else sq.deafUntil = 0;
    }
    if (this.watches.length > 0 && sq.id !== 0 && !this.isAllowed(sq, tail)) return 0;
    if (mustOrder) acquire();
    const { command, completions, state } = this;
    const { sqe } = command;
    const { words } = span;
    const first = span.offset >>> 2;
    const isAdmin = sq.id === 0;
    const { scattered } = sq;
    const isDisturbed = this.faults.active || sq.latencyMs > 0;
    let done = 0;
    while (done < limit && sq.head !== tail && completions.hasRoom(cq)) {
      if (scattered) {
        if (!this.scattered.fetch(sq, sqe)) {
          this.events.queueLost();
          break;
        }
      } else {
        const at = first + sq.head * sq.entryWords;
        for (let i = 0; i < SQE_WORDS; i++) sqe[i] = words[at + i] ?? 0;
      }
      sq.head = sq.head + 1 === sq.entries ? 0 : sq.head + 1;
      done++;
      command.sqid = sq.id;
      command.dw0 = 0;
      command.dw1 = 0;
      if (isDisturbed) {
        const fault = this.faults.next(sq.id, command.opcode, command.nsid);
        if (fault !== undefined) {
          this.faultExecution.execute(fault, sq);
          if (!state.isRunning) break;
          continue;
        }
        if (sq.latencyMs > 0) {
          this.delayed.add(sq, sq.latencyMs);
          continue;
        }
      }
      const status = isAdmin ? this.admin.execute() : this.nvm.execute();
      if (status !== PENDING) completions.complete(sq, status);
      if (isAdmin && !state.isRunning) break;
      if (!cq.mapped) break;
    }
    return done;
  }

  /** Asks the watches. Not a part of serve(): its closure would make V8 put the parameters of each call on the heap. */
  private isAllowed(sq: EmulatedSq, tail: number): boolean {
    return this.watches.every((watch) => watch(sq, tail));
  }

  /** Executes the current command, which came from this queue. @returns a status, or PENDING */
  execute(sq: EmulatedSq): number {
    return sq.id === 0 ? this.admin.execute() : this.nvm.execute();
  }
}
