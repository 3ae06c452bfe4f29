import type { DmaBuffer } from "../dma/buffer.js";
import type { DmaSpace } from "../dma/space.js";
import { TimeoutError } from "../sys/errors.js";
import { closeAll } from "../sys/resource.js";
import type { NvmeCommand, NvmeCompletion } from "./command.js";
import { CommandIds } from "./command-ids.js";
import { CompletionQueue, CQE_WORDS } from "./completion-queue.js";
import { dataListPages, writeDataPointers } from "./data-pointer.js";
import { dropData, holdData } from "./data-ranges.js";
import { NvmeError, NvmeProtocolError } from "./error.js";
import { SQE_WORDS } from "./submission-entry.js";
import { SubmissionQueue } from "./submission-queue.js";

/** How completions are noticed: by interrupt, or by looking while something is outstanding. */
export type CompletionMode = "interrupt" | "poll";

/** What a queue pair needs to know of its controller. */
export interface QueuePairOptions {
  readonly id: number;
  readonly entries: number;
  readonly space: DmaSpace;
  /** Doorbell registers from {@link DOORBELL_BASE} on, and the words between two of them. */
  readonly doorbells: Uint32Array;
  readonly doorbellStrideWords: number;
  /** Where doorbells are no registers but a note of them: tells the controller what was written. */
  readonly afterRing?: (() => void) | undefined;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** Longest transfer of one command. */
  readonly maxTransferBytes: number;
  readonly mode: CompletionMode;
  /** Time limit of each command. */
  readonly timeoutMs: number;
  /** A command ran out of time, or the controller broke the protocol; the owner must stop it. */
  readonly onFailure: (error: Error) => void;
  /** Called a few times per time limit while commands are outstanding. */
  readonly onTick: () => void;
}

interface Pending {
  readonly command: NvmeCommand;
  readonly resolve: (completion: NvmeCompletion) => void;
  readonly reject: (error: unknown) => void;
}

/** How often a polled queue is looked at that has nothing but background commands. */
const BACKGROUND_POLL_MS = 100;

/** The time limit is counted in ticks of a timer, so that no command has to read a clock. */
const TICKS_PER_TIMEOUT = 4;

/**
 * One submission and one completion queue with command slots on top: every command gets a promise. Slots and their PRP
 * list pages are made once. Commands beyond the queue's depth wait their turn.
 */
export class QueuePair {
  readonly id: number;
  readonly sq: SubmissionQueue;
  readonly cq: CompletionQueue;
  /** Rings and list pages, for the create commands and for closing. */
  readonly sqMemory: DmaBuffer;
  readonly cqMemory: DmaBuffer;
  private readonly listMemory: DmaBuffer;
  private readonly listWords: Uint32Array;
  private readonly listPages: number;

  private readonly cids: CommandIds;
  private readonly pending: (Pending | undefined)[];
  private readonly deadlines: Float64Array;
  /** How many of those outstanding are background commands. */
  private backgroundCount = 0;
  private readonly waiting: Pending[] = [];

  private flushScheduled = false;
  private pollScheduled = false;
  private tick = 0;
  private timer: NodeJS.Timeout | undefined;
  private backgroundTimer: NodeJS.Timeout | undefined;
  private failure: Error | undefined;
  private readonly idleListeners: (() => void)[] = [];

  constructor(private readonly options: QueuePairOptions) {
    const { id, entries, space, doorbells, doorbellStrideWords, pageBytes, maxTransferBytes } = options;
    this.id = id;
    const slots = entries - 1;
    this.listPages = dataListPages(maxTransferBytes, pageBytes);
    const buffers: DmaBuffer[] = [];
    const alloc = (sizeBytes: number): DmaBuffer => {
      const buffer = space.alloc(sizeBytes, { alignBytes: pageBytes });
      buffers.unshift(buffer);
      return buffer;
    };
    try {
      this.sqMemory = alloc(entries * SQE_WORDS * 4);
      this.cqMemory = alloc(entries * CQE_WORDS * 4);
      this.listMemory = alloc(slots * this.listPages * pageBytes);
    } catch (error) {
      closeAll(buffers, "undoing a queue pair");
      throw error;
    }
    for (const buffer of buffers) buffer.entrust();
    this.listWords = this.listMemory.memory.words;
    const doorbell = 2 * id * doorbellStrideWords;
    this.sq = new SubmissionQueue(id, entries, this.sqMemory.memory.words, doorbells, doorbell);
    this.cq = new CompletionQueue(
      id,
      entries,
      this.cqMemory.memory.words,
      doorbells,
      doorbell + doorbellStrideWords,
    );
    this.cids = new CommandIds(slots);
    this.pending = new Array(slots).fill(undefined);
    this.deadlines = new Float64Array(slots);
  }

  /** Commands handed to the controller and not completed, without those in the background. */
  get outstanding(): number {
    return this.cids.outstanding - this.backgroundCount;
  }

  /**
   * Submits a checked command. All submissions of one turn of the microtask queue share a doorbell.
   * @returns the completion; rejects with NvmeError, TimeoutError, DeviceGoneError
   */
  submit(command: NvmeCommand): Promise<NvmeCompletion> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) {
        reject(this.failure);
        return;
      }
      const pending = { command, resolve, reject };
      // Counts from now on: a buffer whose command only waits for a slot can't be closed either.
      holdData(command.data);
      holdData(command.metadata);
      if (this.cids.available === 0) this.waiting.push(pending);
      else this.start(pending);
    });
  }

  /** Takes all completions there are. @returns how many */
  reap(): number {
    if (this.failure !== undefined) return 0;
    const { cq } = this;
    const count = cq.reap(cq.entries);
    for (let i = 0; i < count && this.failure === undefined; i++) {
      this.complete(cq.cids[i] ?? 0, cq.statuses[i] ?? 0, cq.results[i] ?? 0, cq.results1[i] ?? 0);
    }
    if (count > 0) {
      cq.ring();
      this.options.afterRing?.();
      while (this.cids.available > 0 && this.failure === undefined) {
        const next = this.waiting.shift();
        if (next === undefined) break;
        this.start(next);
      }
      if (this.outstanding === 0) {
        // It may still run for a while; an idle queue doesn't keep the process alive.
        this.timer?.unref();
        for (const listener of this.idleListeners.splice(0)) listener();
      }
    }
    return count;
  }

  /** Resolves when nothing is outstanding or waiting. */
  idle(): Promise<void> {
    if (this.outstanding === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.idleListeners.push(resolve);
    });
  }

  /**
   * Rejects everything outstanding and all that comes later. Only once the controller can't write to memory any more:
   * the buffers are free afterwards.
   */
  fail(error: Error): void {
    this.failure = error;
    this.stopTimers();
    for (const [cid, pending] of this.pending.entries()) {
      if (pending === undefined) continue;
      this.pending[cid] = undefined;
      this.cids.give(cid);
      if (pending.command.background === true) this.backgroundCount--;
      settle(pending);
      pending.reject(error);
    }
    for (const pending of this.waiting.splice(0)) {
      settle(pending);
      pending.reject(error);
    }
    for (const listener of this.idleListeners.splice(0)) listener();
  }

  /** Frees the queues' memory, after the controller let go of it. */
  close(): void {
    this.stopTimers();
    closeAll([this.listMemory, this.cqMemory, this.sqMemory], `closing queue pair ${this.id}`);
  }

  private stopTimers(): void {
    clearTimeout(this.timer);
    clearTimeout(this.backgroundTimer);
    this.timer = undefined;
    this.backgroundTimer = undefined;
  }

  private start(pending: Pending): void {
    const { command } = pending;
    const cid = this.cids.take();
    this.pending[cid] = pending;
    const isBackground = command.background === true;
    this.deadlines[cid] = isBackground ? Number.POSITIVE_INFINITY : this.tick + TICKS_PER_TIMEOUT + 1;
    if (isBackground) this.backgroundCount++;

    const { sq } = this;
    const { words, slot } = sq;
    words[slot] = command.opcode | (cid << 16);
    words[slot + 1] = command.nsid ?? 0;
    words[slot + 2] = command.cdw2 ?? 0;
    words[slot + 3] = command.cdw3 ?? 0;
    words[slot + 4] = 0;
    words[slot + 5] = 0;
    if (command.data === undefined && command.metadata === undefined) words.fill(0, slot + 6, slot + 10);
    else this.writeData(slot, cid, command);
    words[slot + 10] = command.cdw10 ?? 0;
    words[slot + 11] = command.cdw11 ?? 0;
    words[slot + 12] = command.cdw12 ?? 0;
    words[slot + 13] = command.cdw13 ?? 0;
    words[slot + 14] = command.cdw14 ?? 0;
    words[slot + 15] = command.cdw15 ?? 0;
    sq.post();
    if (!isBackground) {
      if (this.timer === undefined) {
        this.timer = setTimeout(this.onTimer, this.options.timeoutMs / TICKS_PER_TIMEOUT);
      } else this.timer.ref();
    }
    if (!this.flushScheduled) {
      this.flushScheduled = true;
      queueMicrotask(this.flush);
    }
  }

  private writeData(slot: number, cid: number, command: NvmeCommand): void {
    const { pageBytes } = this.options;
    const listOffset = cid * this.listPages * pageBytes;
    const listLow = this.listMemory.iovaLow + listOffset;
    writeDataPointers(this.sq.words, slot, command, pageBytes, {
      words: this.listWords,
      at: listOffset / 4,
      iovaLow: listLow % 2 ** 32,
      iovaHigh: this.listMemory.iovaHigh + Math.floor(listLow / 2 ** 32),
    });
  }

  private complete(cid: number, statusField: number, dw0: number, dw1: number): void {
    const pending = this.pending[cid];
    if (pending === undefined || !this.cids.give(cid)) {
      this.options.onFailure(
        new NvmeProtocolError(`queue ${this.id}: completion for command id ${cid}, which is not outstanding`),
      );
      return;
    }
    this.pending[cid] = undefined;
    if (pending.command.background === true) this.backgroundCount--;
    settle(pending);
    if (statusField === 0) pending.resolve({ dw0, dw1 });
    else pending.reject(new NvmeError(nameOf(pending.command), statusField));
  }

  private readonly flush = (): void => {
    this.flushScheduled = false;
    if (this.failure !== undefined) return;
    this.sq.ring();
    this.options.afterRing?.();
    if (this.options.mode === "poll") this.schedulePoll();
  };

  private schedulePoll(): void {
    if (this.pollScheduled) return;
    if (this.outstanding > 0) {
      this.pollScheduled = true;
      setImmediate(this.poll);
    } else if (this.backgroundCount > 0 && this.backgroundTimer === undefined) {
      this.backgroundTimer = setTimeout(() => {
        this.backgroundTimer = undefined;
        this.poll();
      }, BACKGROUND_POLL_MS).unref();
    }
  }

  /** Looks once per turn of the event loop while something is outstanding, and not at all when idle. */
  private readonly poll = (): void => {
    this.pollScheduled = false;
    if (this.failure !== undefined) return;
    this.reap();
    this.schedulePoll();
  };

  private readonly onTimer = (): void => {
    this.timer = undefined;
    this.tick++;
    // Looks itself as well: a lost interrupt must not turn finished commands into timeouts.
    this.reap();
    if (this.outstanding === 0 || this.failure !== undefined) return;
    this.options.onTick();
    if (this.failure !== undefined) return;
    for (const [cid, pending] of this.pending.entries()) {
      if (pending !== undefined && this.tick >= (this.deadlines[cid] ?? 0)) {
        this.options.onFailure(new TimeoutError(nameOf(pending.command), this.options.timeoutMs));
        return;
      }
    }
    this.timer = setTimeout(this.onTimer, this.options.timeoutMs / TICKS_PER_TIMEOUT);
  };
}

function settle(pending: Pending): void {
  dropData(pending.command.data);
  dropData(pending.command.metadata);
}

/** Only errors ask for this, so it may take its time. */
function nameOf(command: NvmeCommand): string {
  const name = command.name ?? `command 0x${command.opcode.toString(16).padStart(2, "0")}`;
  const words = (["nsid", "cdw10", "cdw11", "cdw12"] as const)
    .filter((word) => command[word] !== undefined)
    .map((word) => `${word} 0x${(command[word] ?? 0).toString(16)}`);
  return words.length === 0 ? name : `${name} (${words.join(", ")})`;
}
