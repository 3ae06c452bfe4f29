import { setTimeout as startTimer } from "node:timers";
import { setTimeout } from "node:timers/promises";
import { ArgumentError, TimeoutError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { CommandLimits, type CommandOptions } from "../command/command-options.js";
import { dataListPages, writeDataPointers } from "../command/data-pointer.js";
import { dropData, HOLDER, holdData } from "../command/data-ranges.js";
import { NvmeError, NvmeProtocolError } from "../command/error.js";
import { type PrpList, writePrps } from "../command/prp.js";
import type { RingBuffers } from "../command/queue.js";
import { QueueStatistics } from "../command/queue-statistics.js";
import { type CommandTrace, completeChannel, submitChannel } from "../command/trace.js";
import { CommandIds } from "./command-ids.js";
import { CompletionQueue } from "./completion-queue.js";
import { PlainTransfer } from "./plain-transfer.js";
import { QueueMemory } from "./queue-memory.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";
import { SubmissionQueue } from "./submission-queue.js";

/** How completions are noticed: by interrupt, by looking while something is outstanding, or by looking for a while first. */
export type CompletionMode = "interrupt" | "poll" | "adaptive";

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
  /** In adaptive mode, how long to look after something happened. */
  readonly spinMs?: number | undefined;
  /** The controller's, for traces. */
  readonly name?: string | undefined;
  /** Time limit of each command. */
  readonly timeoutMs: number;
  /** Rings that the caller provides. */
  readonly memory?: RingBuffers | undefined;
  /** A command ran out of time, or the controller broke the protocol; the owner must stop it. */
  readonly onFailure: (error: Error) => void;
  /** Called several times per time limit, and at least four times a second, while commands are outstanding. */
  readonly onTick: () => void;
  /** Asks the controller to abort a command of this queue. Never rejects. @returns whether it says that it did */
  readonly abort?: ((sqid: number, cid: number) => Promise<boolean>) | undefined;
}

class Pending {
  /** Command id while it is with the controller, else -1. */
  cid = -1;
  /** Its own time limit or signal; few have any. */
  limits: CommandLimits | undefined = undefined;

  constructor(
    readonly command: NvmeCommand,
    /** Exactly one of the two: with the completion, or with nothing where nobody wants to have it. */
    readonly resolve: ((completion: NvmeCompletion) => void) | undefined,
    readonly finish: (() => void) | undefined,
    readonly reject: (error: unknown) => void,
  ) {}
}

const nobody = (): void => {};

/** How often a polled queue is looked at that has nothing but background commands. */
const BACKGROUND_POLL_MS = 100;

/** The time limit is counted in ticks of a timer, so that no command has to read a clock. */
const TICKS_PER_TIMEOUT = 4;
/** A removed controller must be noticed within a second. */
const MAX_TICK_MS = 250;
/** Between two Aborts of the same command. */
const MAX_ABORT_PAUSE_MS = 1000;
/** Bits of a command id: with the uppermost one always 0, no id is 0xffff, which means something else. */
const CID_BITS = 15;
/** A polled queue looks so often between two turns of the event loop, as long as it finds something. */
const LOOKS_PER_TURN = 8;
const soon = Promise.resolve();
const TWO_32 = 2 ** 32;

/**
 * One submission and one completion queue with command slots on top: every command gets a promise. Slots and their PRP
 * list pages are made once. Commands beyond the queue's depth wait their turn.
 *
 * A command id is its slot, with a count of the slot's uses above it as far as there is room: a completion that comes
 * twice isn't taken for that of the slot's next command.
 */
export class QueuePair {
  readonly id: number;
  readonly entries: number;
  readonly sq: SubmissionQueue;
  readonly cq: CompletionQueue;
  private readonly memory: QueueMemory;
  private readonly listWords: Uint32Array;
  private readonly listPages: number;
  private readonly pageBytes: number;

  private ids: CommandIds;
  private readonly slotMask: number;
  private readonly useStep: number;
  private readonly useMask: number;
  /** Of each slot: how often it was used, in the bits of a command id above the slot. */
  private readonly uses: Uint16Array;
  private readonly pending: (Pending | undefined)[];
  /** Of each slot, once it was used for one. */
  private readonly transfers: (PlainTransfer | undefined)[];
  private readonly deadlines: Float64Array;
  /** How many of those outstanding are background commands. */
  private backgroundCount = 0;
  private readonly waiting: Pending[] = [];

  /** Collected only when asked for. */
  private statistics: QueueStatistics | undefined = undefined;

  private flushScheduled = false;
  private pollScheduled = false;
  /** How often it may still look before the next turn of the event loop. */
  private looks = 0;
  /** Adaptive mode: when to leave it to the interrupt. */
  private spinUntil = 0;
  private readonly tickMs: number;
  private readonly ticksPerLook: number;
  /** Of a command without a time limit of its own. */
  private readonly ownTicks: number;
  private tick = 0;
  private timer: NodeJS.Timeout | undefined;
  private backgroundTimer: NodeJS.Timeout | undefined;
  private afterRing: (() => void) | undefined;
  private failure: Error | undefined;
  /** The controller is being reset: commands wait. */
  private suspended = false;
  /** Counts resets: what was asked before one is no news after it. */
  private epoch = 0;
  private readonly idleListeners: (() => void)[] = [];

  // Of the promise made last: an executor that is there already costs no closure for each command.
  private resolve: (completion: NvmeCompletion) => void = nobody;
  private finish: () => void = nobody;
  private reject: (error: unknown) => void = nobody;
  private readonly captureResolve = (
    resolve: (completion: NvmeCompletion) => void,
    reject: (error: unknown) => void,
  ): void => {
    this.resolve = resolve;
    this.reject = reject;
  };
  private readonly captureFinish = (finish: () => void, reject: (error: unknown) => void): void => {
    this.finish = finish;
    this.reject = reject;
  };

  /** @throws ArgumentError (memory given), ClosedError, SysError */
  constructor(private readonly options: QueuePairOptions) {
    const { id, entries, space, doorbells, doorbellStrideWords, pageBytes, maxTransferBytes } = options;
    this.id = id;
    this.entries = entries;
    this.afterRing = options.afterRing;
    this.pageBytes = pageBytes;
    const slots = entries - 1;
    this.listPages = dataListPages(maxTransferBytes, pageBytes);
    this.memory = new QueueMemory({
      space,
      entries,
      listBytes: slots * this.listPages * pageBytes,
      pageBytes,
      given: options.memory,
    });
    this.listWords = this.memory.lists.memory.words;
    const doorbell = 2 * id * doorbellStrideWords;
    this.sq = new SubmissionQueue(id, entries, this.memory.sqWords, doorbells, doorbell);
    this.cq = new CompletionQueue(
      id,
      entries,
      this.memory.cqWords,
      doorbells,
      doorbell + doorbellStrideWords,
    );
    this.ids = new CommandIds(slots);
    const slotBits = Math.ceil(Math.log2(entries));
    this.slotMask = 2 ** slotBits - 1;
    this.useStep = slotBits < CID_BITS ? 2 ** slotBits : 0;
    this.useMask = slotBits < CID_BITS ? 2 ** CID_BITS - 1 - this.slotMask : 0;
    this.uses = new Uint16Array(slots);
    this.pending = new Array(slots).fill(undefined);
    this.transfers = new Array(slots).fill(undefined);
    this.deadlines = new Float64Array(slots);
    this.tickMs = Math.min(options.timeoutMs / TICKS_PER_TIMEOUT, MAX_TICK_MS);
    this.ticksPerLook = Math.round(options.timeoutMs / TICKS_PER_TIMEOUT / this.tickMs);
    this.ownTicks = this.ticksOf(options.timeoutMs);
  }

  /** The rings' memory, for the create commands. */
  get sqMemory(): DmaBuffer {
    return this.memory.submission;
  }

  get cqMemory(): DmaBuffer {
    return this.memory.completion;
  }

  /** Counts and measures from now on. */
  collectStatistics(): QueueStatistics {
    this.statistics ??= new QueueStatistics(this.entries - 1);
    return this.statistics;
  }

  endStatistics(): void {
    this.statistics = undefined;
  }

  /** Doorbells in memory, or undefined. Only while nothing is outstanding. */
  useShadow(shadow: ShadowDoorbells | undefined): void {
    this.sq.useShadow(shadow);
    this.cq.useShadow(shadow);
  }

  /** Commands handed to the controller and not completed, without those in the background. */
  get outstanding(): number {
    return this.ids.outstanding - this.backgroundCount;
  }

  /**
   * Submits a checked command. All submissions of one turn of the microtask queue share a doorbell.
   * @returns the completion; rejects with NvmeError, TimeoutError, DeviceGoneError, the reason of a signal
   */
  submit(command: NvmeCommand, options?: CommandOptions): Promise<NvmeCompletion> {
    const promise = new Promise<NvmeCompletion>(this.captureResolve);
    this.enqueue(new Pending(command, this.resolve, undefined, this.reject), options);
    return promise;
  }

  /**
   * The same for a command whose completion says nothing but that it is done, as of reads and writes: to resolve a promise
   * with an object takes V8 a good deal longer than with nothing.
   */
  execute(command: NvmeCommand, options?: CommandOptions): Promise<void> {
    const promise = new Promise<void>(this.captureFinish);
    this.enqueue(new Pending(command, undefined, this.finish, this.reject), options);
    return promise;
  }

  /**
   * The same for a checked read or write of one contiguous buffer, without anything that costs more than it has to.
   * @param lba a safe integer
   * @param cdw12 blocks and control
   * @returns undefined, with nothing done, where it has to wait: execute() does that
   * @throws ClosedError where the buffer is closed
   */
  transfer(
    opcode: number,
    nsid: number,
    lba: number,
    cdw12: number,
    buffer: DmaBuffer,
    offset: number,
    length: number,
  ): Promise<void> | undefined {
    if (this.suspended || this.waiting.length > 0 || this.ids.available === 0) return undefined;
    buffer.lease.hold(HOLDER);
    const slotId = this.ids.take();
    const cid = this.cidOf(slotId);
    const transfer = this.transfers[slotId] ?? this.makeTransfer(slotId);
    transfer.cid = cid;
    transfer.opcode = opcode;
    transfer.nsid = nsid;
    transfer.lba = lba;
    transfer.cdw12 = cdw12;
    transfer.buffer = buffer;
    transfer.offset = offset;
    transfer.length = length;
    this.deadlines[slotId] = this.tick + this.ownTicks;

    const { sq } = this;
    const { words, slot } = sq;
    words[slot] = opcode | (cid << 16);
    words[slot + 1] = nsid;
    words[slot + 2] = 0;
    words[slot + 3] = 0;
    words[slot + 4] = 0;
    words[slot + 5] = 0;
    let low = buffer.iovaLow + offset;
    let high = buffer.iovaHigh;
    if (low >= TWO_32) {
      high += Math.floor(low / TWO_32);
      low %= TWO_32;
    }
    writePrps(words, slot, low, high, length, this.pageBytes, transfer.list);
    words[slot + 10] = lba;
    words[slot + 11] = lba / TWO_32;
    words[slot + 12] = cdw12;
    words[slot + 13] = 0;
    words[slot + 14] = 0;
    words[slot + 15] = 0;
    sq.post();
    if (this.statistics !== undefined) this.statistics.started(slotId);
    if (submitChannel.hasSubscribers) submitChannel.publish(this.traceOf(cid, transfer.command));
    this.announce();
    return new Promise((finish) => {
      transfer.finish = finish;
    });
  }

  private makeTransfer(slotId: number): PlainTransfer {
    const transfer = new PlainTransfer(this.listOf(slotId));
    this.transfers[slotId] = transfer;
    return transfer;
  }

  private enqueue(pending: Pending, options: CommandOptions | undefined): void {
    if (this.failure !== undefined) {
      pending.reject(this.failure);
      return;
    }
    const { command } = pending;
    if (options !== undefined && (options.timeoutMs !== undefined || options.signal !== undefined)) {
      if (options.signal?.aborted === true) {
        pending.reject(options.signal.reason);
        return;
      }
      pending.limits = new CommandLimits(
        () => nameOf(command),
        options,
        (reason) => this.giveUp(pending, reason),
      );
    }
    // Counts from now on: a buffer whose command only waits for a slot can't be closed either.
    holdData(command.data);
    holdData(command.metadata);
    if (this.suspended || this.waiting.length > 0 || !this.hasRoomFor(pending)) this.waiting.push(pending);
    else this.start(pending);
  }

  /**
   * Submits two commands as a fused operation: one entry after the other, announced by one doorbell.
   * @throws ArgumentError where the queue never has room for both
   */
  submitFused(
    first: NvmeCommand,
    second: NvmeCommand,
  ): [first: Promise<NvmeCompletion>, second: Promise<NvmeCompletion>] {
    if (this.ids.count < 2) {
      throw new ArgumentError(`queue ${this.id} has one entry only: no room for a fused operation`);
    }
    return [this.submit(first), this.submit(second)];
  }

  /** The first half of a fused operation starts only where the other can follow at once. */
  private hasRoomFor({ command }: Pending): boolean {
    return this.ids.available >= (command.fuse === 1 ? 2 : 1);
  }

  /** Takes all completions there are. @returns how many */
  reap(): number {
    if (this.failure !== undefined || this.suspended) return 0;
    const { cq } = this;
    const count = cq.reap(cq.entries);
    for (let i = 0; i < count && this.failure === undefined && !this.suspended; i++) {
      this.complete(
        cq.cids[i] ?? 0,
        cq.sqids[i] ?? 0,
        cq.statuses[i] ?? 0,
        cq.results[i] ?? 0,
        cq.results1[i] ?? 0,
      );
    }
    if (count > 0 && !this.suspended) {
      cq.ring();
      this.afterRing?.();
      this.goOn();
    }
    return count;
  }

  /** Resolves when nothing is outstanding or waiting. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => {
      this.idleListeners.push(resolve);
    });
  }

  /**
   * Takes back all that is outstanding, and lets new commands wait. Only once the controller can't write to memory any
   * more: the rings begin anew, and the buffers of those that don't stay are free.
   * @param error what the others are rejected with
   * @param stays whether a command is to be sent again; those in the background always are
   */
  suspend(error: Error, stays: (command: NvmeCommand) => boolean): void {
    if (this.failure !== undefined) return;
    this.suspended = true;
    this.epoch++;
    this.stopTimers();
    const again: Pending[] = [];
    for (const [slot, other] of this.pending.entries()) {
      const pending = other ?? this.takeTransfer(slot);
      if (pending === undefined) continue;
      this.pending[slot] = undefined;
      pending.cid = -1;
      const { command, limits } = pending;
      if (
        limits?.gaveUp !== true &&
        (command.background === true || (command.fuse === undefined && stays(command)))
      ) {
        // Of a fused operation half may have been done.
        again.push(pending);
      } else {
        settle(pending);
        pending.reject(error);
      }
    }
    this.ids = new CommandIds(this.pending.length);
    this.backgroundCount = 0;
    this.waiting.unshift(...again);
    this.flushScheduled = false;
    this.noticeIdle();
  }

  /** A transfer that is with the controller, taken out of its slot: the same as any other command. */
  private takeTransfer(slotId: number): Pending | undefined {
    const transfer = this.transfers[slotId];
    if (transfer === undefined || transfer.cid < 0) return undefined;
    const { command } = transfer;
    holdData(command.data);
    const finish = transfer.end();
    return new Pending(command, undefined, finish, (error) => finish(Promise.reject(error)));
  }

  /** Prepares the rings for a controller that begins anew. @param doorbells where they are now */
  restart(doorbells: Uint32Array, afterRing: (() => void) | undefined): void {
    this.failure = undefined;
    this.suspended = true;
    this.afterRing = afterRing;
    this.memory.clear();
    this.sq.reset(doorbells);
    this.cq.reset(doorbells);
  }

  /** Sends what waits, and goes on. */
  resume(): void {
    if (this.failure !== undefined) return;
    this.suspended = false;
    this.goOn();
  }

  /**
   * Rejects everything outstanding and all that comes later. Only once the controller can't write to memory any more:
   * the buffers are free afterwards.
   */
  fail(error: Error): void {
    if (this.failure !== undefined) return;
    this.suspend(error, () => false);
    this.failure = error;
    for (const pending of this.waiting.splice(0)) {
      settle(pending);
      pending.reject(error);
    }
    this.noticeIdle();
  }

  /** Frees the queues' memory, after the controller let go of it. */
  close(): void {
    this.stopTimers();
    this.memory.close();
  }

  private get isIdle(): boolean {
    return this.outstanding === 0 && this.waiting.length === 0;
  }

  private noticeIdle(): void {
    if (!this.isIdle) return;
    for (const listener of this.idleListeners.splice(0)) listener();
  }

  /** Slots have become free. */
  private goOn(): void {
    const { waiting } = this;
    while (this.failure === undefined && !this.suspended) {
      const [next] = waiting;
      if (next === undefined || !this.hasRoomFor(next)) break;
      waiting.shift();
      this.start(next);
    }
    if (this.idleListeners.length > 0) this.noticeIdle();
  }

  /** What of a slot is with the controller. */
  private commandAt(slotId: number): NvmeCommand | undefined {
    const transfer = this.transfers[slotId];
    if (transfer !== undefined && transfer.cid >= 0) return transfer.command;
    return this.pending[slotId]?.command;
  }

  private stopTimers(): void {
    clearTimeout(this.timer);
    clearTimeout(this.backgroundTimer);
    this.timer = undefined;
    this.backgroundTimer = undefined;
  }

  private start(pending: Pending): void {
    const { command } = pending;
    const slotId = this.ids.take();
    const cid = this.cidOf(slotId);
    pending.cid = cid;
    this.pending[slotId] = pending;
    const isBackground = command.background === true;
    this.deadlines[slotId] = isBackground ? Number.POSITIVE_INFINITY : this.deadlineOf(pending.limits);
    if (isBackground) this.backgroundCount++;

    const { sq } = this;
    const { words, slot } = sq;
    words[slot] = command.opcode | ((command.fuse ?? 0) << 8) | (cid << 16);
    words[slot + 1] = command.nsid ?? 0;
    words[slot + 2] = command.cdw2 ?? 0;
    words[slot + 3] = command.cdw3 ?? 0;
    words[slot + 4] = 0;
    words[slot + 5] = 0;
    if (command.data === undefined && command.metadata === undefined) {
      words[slot + 6] = 0;
      words[slot + 7] = 0;
      words[slot + 8] = 0;
      words[slot + 9] = 0;
    } else writeDataPointers(words, slot, command, this.pageBytes, this.listOf(slotId));
    words[slot + 10] = command.cdw10 ?? 0;
    words[slot + 11] = command.cdw11 ?? 0;
    words[slot + 12] = command.cdw12 ?? 0;
    words[slot + 13] = command.cdw13 ?? 0;
    words[slot + 14] = command.cdw14 ?? 0;
    words[slot + 15] = command.cdw15 ?? 0;
    sq.post();
    if (this.statistics !== undefined) this.statistics.started(slotId);
    if (submitChannel.hasSubscribers) submitChannel.publish(this.traceOf(cid, command));
    this.announce(isBackground);
  }

  /** The id of a slot's next command. */
  private cidOf(slotId: number): number {
    const use = ((this.uses[slotId] ?? 0) + this.useStep) & this.useMask;
    this.uses[slotId] = use;
    return slotId | use;
  }

  /** Sees to the doorbell and to the time limit of what was posted. */
  private announce(isBackground = false): void {
    // Once it runs, it goes on until it finds nothing outstanding.
    if (this.timer === undefined && !isBackground) this.timer = startTimer(this.onTimer, this.tickMs);
    if (!this.flushScheduled) {
      this.flushScheduled = true;
      // queueMicrotask() does a good deal more than that.
      void soon.then(this.flush);
    }
  }

  private deadlineOf(limits: CommandLimits | undefined): number {
    if (limits?.timeoutMs === undefined) return this.tick + this.ownTicks;
    // After its own time limit the controller has as long to give the command back.
    return this.tick + this.ticksOf(limits.timeoutMs + this.options.timeoutMs);
  }

  private ticksOf(milliseconds: number): number {
    return Math.ceil(milliseconds / this.tickMs) + 1;
  }

  private traceOf(cid: number, command: NvmeCommand): CommandTrace {
    return { controller: this.options.name ?? "", queue: this.id, cid, command };
  }

  /** A slot's own list pages. */
  private listOf(slotId: number): PrpList {
    const { lists } = this.memory;
    const listOffset = slotId * this.listPages * this.pageBytes;
    const listLow = lists.iovaLow + listOffset;
    return {
      words: this.listWords,
      at: listOffset / 4,
      iovaLow: listLow % TWO_32,
      iovaHigh: lists.iovaHigh + Math.floor(listLow / TWO_32),
    };
  }

  private complete(cid: number, sqid: number, statusField: number, dw0: number, dw1: number): void {
    const slotId = cid & this.slotMask;
    const transfer = this.transfers[slotId];
    if (transfer !== undefined && transfer.cid === cid && sqid === this.id) {
      this.completeTransfer(slotId, transfer, statusField, dw0, dw1);
      return;
    }
    const pending = this.pending[slotId];
    if (pending === undefined || pending.cid !== cid || sqid !== this.id) {
      const what =
        sqid === this.id
          ? `command id ${cid}, which is not outstanding`
          : `submission queue ${sqid} (command id ${cid})`;
      this.options.onFailure(new NvmeProtocolError(`queue ${this.id}: completion for ${what}`));
      return;
    }
    this.pending[slotId] = undefined;
    pending.cid = -1;
    if (this.statistics !== undefined) this.statistics.completed(slotId, pending.command, statusField);
    if (completeChannel.hasSubscribers) {
      completeChannel.publish({ ...this.traceOf(cid, pending.command), status: statusField, dw0, dw1 });
    }
    if (pending.command.background === true) this.backgroundCount--;
    if (pending.limits?.aborting !== true) this.ids.give(slotId);
    settle(pending);
    if (statusField === 0) {
      if (pending.finish !== undefined) pending.finish();
      else pending.resolve?.({ dw0, dw1 });
    } else pending.reject(new NvmeError(nameOf(pending.command), statusField));
  }

  private completeTransfer(
    slotId: number,
    transfer: PlainTransfer,
    statusField: number,
    dw0: number,
    dw1: number,
  ): void {
    if (this.statistics !== undefined) this.statistics.completed(slotId, transfer.command, statusField);
    if (completeChannel.hasSubscribers) {
      const { cid, command } = transfer;
      completeChannel.publish({ ...this.traceOf(cid, command), status: statusField, dw0, dw1 });
    }
    const error = statusField === 0 ? undefined : new NvmeError(nameOf(transfer.command), statusField);
    this.ids.give(slotId);
    const finish = transfer.end();
    if (error === undefined) finish();
    else finish(Promise.reject(error));
  }

  /** Its caller waits no longer. What the controller has, it keeps until it says otherwise. */
  private giveUp(pending: Pending, reason: unknown): void {
    const { cid, limits } = pending;
    if (cid < 0) {
      const at = this.waiting.indexOf(pending);
      if (at >= 0) this.waiting.splice(at, 1);
      settle(pending);
      pending.reject(reason);
      this.noticeIdle();
      return;
    }
    pending.reject(reason);
    if (limits !== undefined) void this.abort(pending, cid, limits);
  }

  /**
   * Asks the controller to abort a command, again as long as it says that it hasn't: Aborts can overtake what they are
   * for. Until an Abort is answered the command's id is not free, lest it hit the next command of that id.
   */
  private async abort(pending: Pending, cid: number, limits: CommandLimits): Promise<void> {
    const { abort } = this.options;
    if (abort === undefined) return;
    const { epoch } = this;
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, MAX_ABORT_PAUSE_MS)) {
      limits.aborting = true;
      const isAborted = await abort(this.id, cid);
      limits.aborting = false;
      if (this.epoch !== epoch || this.failure !== undefined) return;
      if (pending.cid !== cid) {
        this.ids.give(cid & this.slotMask);
        this.goOn();
        return;
      }
      if (isAborted) return;
      await setTimeout(pauseMs, undefined, { ref: false });
      if (this.epoch !== epoch || pending.cid !== cid) return;
    }
  }

  private readonly flush = (): void => {
    if (!this.flushScheduled) return;
    this.flushScheduled = false;
    if (this.failure !== undefined || this.suspended) return;
    this.sq.ring();
    this.afterRing?.();
    const { mode } = this.options;
    if (mode === "interrupt") return;
    if (mode === "adaptive") this.spinUntil = performance.now() + (this.options.spinMs ?? 0);
    this.schedulePoll();
    // Some of what was under way may be done by now: a turn of the event loop takes longer than many a command.
    if (this.looks > 0) {
      this.looks--;
      this.reap();
    }
  };

  private schedulePoll(): void {
    if (this.pollScheduled) return;
    if (this.outstanding > 0) {
      this.pollScheduled = true;
      setImmediate(this.poll);
    } else if (
      this.options.mode === "poll" &&
      this.backgroundCount > 0 &&
      this.backgroundTimer === undefined
    ) {
      this.backgroundTimer = startTimer(() => {
        this.backgroundTimer = undefined;
        this.poll();
      }, BACKGROUND_POLL_MS).unref();
    }
  }

  /** Looks once per turn of the event loop while something is outstanding, as long as the mode says. */
  private readonly poll = (): void => {
    this.pollScheduled = false;
    this.looks = LOOKS_PER_TURN;
    if (this.failure !== undefined || this.suspended) return;
    const count = this.reap();
    if (this.options.mode === "adaptive") {
      const now = performance.now();
      if (count > 0) this.spinUntil = now + (this.options.spinMs ?? 0);
      // From here on an interrupt tells.
      else if (now >= this.spinUntil) return;
    }
    this.schedulePoll();
  };

  private readonly onTimer = (): void => {
    this.timer = undefined;
    this.tick++;
    // Looks itself as well: a lost interrupt must not turn finished commands into timeouts.
    if (this.tick % this.ticksPerLook === 0) this.reap();
    if (this.outstanding === 0 || this.failure !== undefined || this.suspended) return;
    this.options.onTick();
    if (this.failure !== undefined || this.suspended) return;
    for (const [slotId, deadline] of this.deadlines.entries()) {
      if (this.tick < deadline) continue;
      const command = this.commandAt(slotId);
      if (command === undefined) continue;
      this.options.onFailure(new TimeoutError(nameOf(command), this.options.timeoutMs));
      return;
    }
    this.timer = startTimer(this.onTimer, this.tickMs);
  };
}

function settle(pending: Pending): void {
  dropData(pending.command.data);
  dropData(pending.command.metadata);
  pending.limits?.end();
}

/** Only errors ask for this, so it may take its time. */
function nameOf(command: NvmeCommand): string {
  const name = command.name ?? `command 0x${command.opcode.toString(16).padStart(2, "0")}`;
  const words = (["nsid", "cdw10", "cdw11", "cdw12"] as const)
    .filter((word) => command[word] !== undefined)
    .map((word) => `${word} 0x${(command[word] ?? 0).toString(16)}`);
  return words.length === 0 ? name : `${name} (${words.join(", ")})`;
}
