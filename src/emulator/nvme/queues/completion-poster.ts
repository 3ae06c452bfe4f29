/** Posts completions to completion queues, and holds those that wait for room. */
import { AsyncEventInfo } from "../../../nvme/spec/opcodes.js";
import { CQE_WORDS } from "../../../nvme/spec/queue-entries.js";
import { NvmeStatus, STATUS_DO_NOT_RETRY, STATUS_MORE } from "../../../nvme/spec/status.js";
import { publish, weaklyOrdered } from "../../../sys/mmio.js";
import type { Command } from "../host/command.js";
import type { InterruptSignaller } from "./interrupt-signaller.js";
import type { QueueSet } from "./queue-set.js";
import type { EmulatedCq, EmulatedSq } from "./queues.js";
import type { ScatteredEntries } from "./scattered-entries.js";

const U16_MASK = 0xffff;
// V8 compiles a constant of this module into the code, but looks an imported one up at each use.
const mustOrder = weaklyOrdered;

/** Status codes of commands that may succeed when the host sends them again: DNR stays clear. */
const retryable: ReadonlySet<number> = new Set([
  NvmeStatus.commandAbortRequested,
  NvmeStatus.commandAbortedDueToSqDeletion,
  NvmeStatus.namespaceNotReady,
  NvmeStatus.internalError,
  NvmeStatus.asymmetricAccessInaccessible,
  NvmeStatus.asymmetricAccessTransition,
  NvmeStatus.commandInterrupted,
]);

/** What the poster tells the controller. */
export interface CompletionEvents {
  /** A command failed: adds an entry to the Error Information log. */
  failed(status: number, sqid: number): void;
  /** The host wrote a wrong doorbell. @param info of the asynchronous event */
  invalidDoorbell(info: number): void;
  /** A completion waits to be posted by drain(). */
  added(): void;
  /** A queue is no longer in memory. */
  queueLost(): void;
}

/** Posts completions, at once or at the end of a pass. */
export class CompletionPoster {
  /** Completions in the overflow lists of all queues. */
  private overflows = 0;

  constructor(
    private readonly command: Command,
    private readonly queues: QueueSet,
    private readonly interrupts: InterruptSignaller,
    private readonly scattered: ScatteredEntries,
    private readonly events: CompletionEvents,
  ) {}

  /** Completions wait for drain(). */
  get isWaiting(): boolean {
    return this.overflows > 0;
  }

  /** Whether another completion fits into the queue. */
  hasRoom(cq: EmulatedCq): boolean {
    const next = cq.tail + 1 === cq.entries ? 0 : cq.tail + 1;
    if (next !== cq.head) return true;
    const head = cq.doorbell.words[cq.doorbell.index] ?? 0;
    if (head >= cq.entries) {
      if (cq.badHead !== head) this.events.invalidDoorbell(AsyncEventInfo.error.invalidDoorbellValue);
      cq.badHead = head;
      return false;
    }
    cq.head = head;
    return next !== head;
  }

  /** Completes the current command. */
  complete(sq: EmulatedSq, status: number): void {
    const { command } = this;
    this.post(sq.cq, command.dw0, command.dw1, sq.head, sq.id, command.cid, this.statusField(status, sq.id));
  }

  /** The Status Field of a completion. An error is also recorded in the log. */
  statusField(status: number, sqid: number): number {
    if (status === NvmeStatus.success) return 0;
    this.events.failed(status, sqid);
    return status | STATUS_MORE | (retryable.has(status) ? 0 : STATUS_DO_NOT_RETRY);
  }

  /** Writes an entry to a queue that has room. Its parts are parameters so that the I/O path makes no object. */
  post(
    cq: EmulatedCq,
    dw0: number,
    dw1: number,
    sqhd: number,
    sqid: number,
    cid: number,
    statusField: number,
    phase = cq.phase,
  ): void {
    const dw2 = sqhd | (sqid << 16);
    const dw3 = cid | (phase << 16) | (statusField << 17);
    if (!cq.scattered) {
      const { words, offset } = cq.span;
      const at = (offset >>> 2) + cq.tail * CQE_WORDS;
      words[at] = dw0;
      words[at + 1] = dw1;
      words[at + 2] = dw2;
      if (mustOrder) publish();
      words[at + 3] = dw3;
    } else if (!this.scattered.post(cq, dw0, dw1, dw2, dw3)) {
      cq.mapped = false;
      this.events.queueLost();
      return;
    }
    cq.tail++;
    if (cq.tail === cq.entries) {
      cq.tail = 0;
      cq.phase ^= 1;
    }
    this.interrupts.posted(cq);
  }

  /** Completes a command after others. Does nothing if its queue is gone. */
  completeLater(sqid: number, cid: number, dw0: number, status: number): void {
    const sq = this.queues.sqs[sqid];
    if (sq !== undefined) this.completeOn(sq, cid, dw0, status);
  }

  /** Completes a command after others, even if its submission queue is deleted. */
  completeOn(sq: EmulatedSq, cid: number, dw0: number, status: number): void {
    const field = this.statusField(status, sq.id);
    // drain() posts it at the end of the pass: the command that caused it completes first.
    sq.cq.overflow.push([dw0, 0, sq.head | (sq.id << 16), cid | (field << 17)]);
    this.overflows++;
    this.events.added();
  }

  /** Posts waiting completions, as far as there is room. @returns how many */
  drain(): number {
    let done = 0;
    for (const cq of this.queues.cqs) {
      while (cq?.mapped && cq.overflow.length > 0 && this.hasRoom(cq)) {
        const entry = cq.overflow.shift();
        if (entry === undefined) break;
        const [dw0, dw1, dw2, dw3] = entry;
        this.post(cq, dw0, dw1, dw2 & U16_MASK, dw2 >>> 16, dw3 & U16_MASK, dw3 >>> 17);
        this.overflows--;
        done++;
      }
    }
    return done;
  }

  clear(): void {
    this.overflows = 0;
  }

  /** Takes over the waiting completions of queues that were loaded. */
  load(): void {
    this.overflows = this.queues.cqs.reduce((sum, cq) => sum + (cq?.overflow.length ?? 0), 0);
  }
}
