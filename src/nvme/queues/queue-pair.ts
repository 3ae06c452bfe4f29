/**
 * One submission and one completion queue, with slots, promises and time limits. submit() or transfer() takes a free slot
 * and writes an entry to the ring; one doorbell announces all entries of a turn of the microtask queue. reap() finds the
 * slot by the completion's command id and settles the promise. Commands beyond the queue's depth wait for a slot.
 */

import { setTimeout } from "node:timers/promises";
import { noteError } from "../../activity/page.js";
import { ArgumentError, TimeoutError, UnsupportedError } from "../../core/errors.js";
import { append } from "../../core/lists.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { commandName } from "../command/command-name.js";
import { CommandLimits, type CommandOptions } from "../command/command-options.js";
import { dataListPages, writeBufferPrps } from "../command/data-pointer.js";
import { HOLDER, holdData } from "../command/data-ranges.js";
import { NvmeError, NvmeProtocolError } from "../command/error.js";
import type { RingBuffers } from "../command/queue.js";
import { QueueStatistics } from "../command/queue-statistics.js";
import { type CommandTrace, completeChannel, submitChannel } from "../command/trace.js";
import { completionDoorbell, submissionDoorbell } from "../spec/doorbells.js";
import { writeCommandEntry } from "./command-entry.js";
import { CompletionQueue } from "./completion-queue.js";
import { type CompletionMode, CompletionWatch } from "./completion-watch.js";
import { Deadlines } from "./deadlines.js";
import type { PreparedCommands } from "./prepared-commands.js";
import { QueueMemory } from "./queue-memory.js";
import { Request } from "./request.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";
import { plainCommand, type Slot, Slots } from "./slots.js";
import { SQE_WORDS, type SubmissionQueue } from "./submission-queue.js";
import { makeSubmissionQueue } from "./wide-submission-queue.js";

/** What a queue pair needs to know about its controller. */
export interface QueuePairOptions {
  readonly id: number;
  readonly entries: number;
  /** From one entry of the submission queue to the next, in 32-bit words; 16 by default. */
  readonly entryWords?: number | undefined;
  /** Lowest command id, on a controller whose queues share the ids. */
  readonly firstCommandId?: number | undefined;
  readonly space: DmaSpace;
  /** Doorbell registers from {@link DOORBELL_BASE} on, and the words between two of them. */
  readonly doorbells: Uint32Array;
  readonly doorbellStrideWords: number;
  /** If `doorbells` is a copy in memory: passes its changes on to the controller. */
  readonly afterRing?: (() => void) | undefined;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** Longest transfer of one command. */
  readonly maxTransferBytes: number;
  readonly mode: CompletionMode;
  /** Adaptive mode: how long to poll after the last event. */
  readonly spinMs?: number | undefined;
  /** The controller's name, for traces. */
  readonly name?: string | undefined;
  /** Time limit of each command. */
  readonly timeoutMs: number;
  /** Memory from the caller. */
  readonly memory?: RingBuffers | undefined;
  /** A command timed out, or the controller violated the protocol. The owner must stop the controller. */
  readonly onFailure: (error: Error) => void;
  /** Called several times per time limit, and at least four times a second, while commands are outstanding. */
  readonly onTick: () => void;
  /** Asks the controller to abort a command of this queue. Never rejects. @returns whether the command was aborted */
  readonly abort?: ((sqid: number, cid: number) => Promise<boolean>) | undefined;
}

/** Longest pause between two Aborts of the same command. */
const MAX_ABORT_PAUSE_MS = 1000;
const soon = Promise.resolve();
const TWO_32 = 2 ** 32;
const nothing = (): void => {};

/** A queue pair and its commands. */
export class QueuePair {
  readonly id: number;
  readonly entries: number;
  readonly sq: SubmissionQueue;
  readonly cq: CompletionQueue;
  private readonly memory: QueueMemory;
  private readonly pageBytes: number;
  private readonly slots: Slots;
  private readonly deadlines: Deadlines;
  private readonly watch: CompletionWatch;
  private readonly waiting: Request[] = [];
  /** Batches with commands that wait for a slot. */
  private readonly batches: PreparedCommands[] = [];
  private statistics: QueueStatistics | undefined = undefined;
  private flushScheduled = false;
  private afterRing: (() => void) | undefined;
  private failure: Error | undefined = undefined;
  /** The controller is being reset, or has failed: commands wait. */
  private suspended = false;
  /** Counts resets: answers from before a reset are ignored after it. */
  private epoch = 0;
  private readonly idleListeners: (() => void)[] = [];

  // The functions of the newest promise. A shared executor avoids one closure per command.
  private resolve: (completion: NvmeCompletion) => void = nothing;
  private reject: (error: unknown) => void = nothing;
  private readonly capture = (
    resolve: (completion: NvmeCompletion) => void,
    reject: (error: unknown) => void,
  ): void => {
    this.resolve = resolve;
    this.reject = reject;
  };

  /** @throws ArgumentError if the caller's memory is unsuitable, ClosedError, SysError */
  constructor(private readonly options: QueuePairOptions) {
    const { id, entries, space, doorbells, doorbellStrideWords, pageBytes, maxTransferBytes } = options;
    this.id = id;
    this.entries = entries;
    this.afterRing = options.afterRing;
    this.pageBytes = pageBytes;
    const { entryWords = SQE_WORDS, firstCommandId } = options;
    const depth = entries - 1 - (firstCommandId ?? 0);
    const listBytes = dataListPages(maxTransferBytes, pageBytes) * pageBytes;
    const memory = new QueueMemory({
      space,
      entries,
      entryWords,
      listBytes: depth * listBytes,
      pageBytes,
      given: options.memory,
    });
    this.memory = memory;
    const sqDoorbell = submissionDoorbell(id, doorbellStrideWords);
    const cqDoorbell = completionDoorbell(id, doorbellStrideWords);
    this.sq = makeSubmissionQueue(entryWords, id, entries, memory.sqWords, doorbells, sqDoorbell);
    this.cq = new CompletionQueue(id, entries, memory.cqWords, doorbells, cqDoorbell);
    this.slots = new Slots(depth, (index) => memory.listAt(index * listBytes), firstCommandId);
    this.deadlines = new Deadlines(depth, options.timeoutMs, this);
    this.watch = new CompletionWatch(options.mode, options.spinMs ?? 0, this);
  }

  /** The rings' memory, for the create commands. */
  get sqMemory(): DmaBuffer {
    return this.memory.submission;
  }

  get cqMemory(): DmaBuffer {
    return this.memory.completion;
  }

  /** Starts collecting statistics. */
  collectStatistics(): QueueStatistics {
    this.statistics ??= new QueueStatistics(this.slots.count);
    return this.statistics;
  }

  endStatistics(): void {
    this.statistics = undefined;
  }

  /** Sets the shadow doorbells, or undefined. Only while nothing is outstanding. */
  useShadow(shadow: ShadowDoorbells | undefined): void {
    this.sq.useShadow(shadow);
    this.cq.useShadow(shadow);
  }

  /** Commands that the controller has, without those in the background. */
  get outstanding(): number {
    return this.slots.outstanding;
  }

  /** Background commands that the controller has. */
  get background(): number {
    return this.slots.background;
  }

  /** Whether the queue is suspended or failed: it takes no completions and starts no commands. */
  get isStopped(): boolean {
    return this.suspended;
  }

  /** Whether the queue runs and commands are outstanding. */
  get isBusy(): boolean {
    return !this.suspended && this.outstanding > 0;
  }

  /** See {@link QueuePairOptions.onTick}. */
  onTick(): void {
    this.options.onTick();
  }

  /**
   * Submits a checked command.
   * @returns the completion; rejects with NvmeError, TimeoutError, DeviceGoneError, the reason of a signal
   */
  submit(command: NvmeCommand, options?: CommandOptions): Promise<NvmeCompletion> {
    const promise = new Promise<NvmeCompletion>(this.capture);
    this.enqueue(new Request(command, { complete: this.resolve, reject: this.reject }), options);
    return promise;
  }

  /**
   * Submits two commands as a fused operation: adjacent entries, announced by one doorbell. A time limit or a signal gives
   * up both.
   * @throws ArgumentError if the queue has a single slot
   */
  submitFused(
    first: NvmeCommand,
    second: NvmeCommand,
    options?: CommandOptions,
  ): [first: Promise<NvmeCompletion>, second: Promise<NvmeCompletion>] {
    if (this.slots.count < 2) {
      throw new ArgumentError(
        `queue ${this.id} has a single slot: a fused operation needs a queue of 3 entries or more`,
      );
    }
    if (options?.signal?.aborted === true) {
      const rejected = Promise.reject(options.signal.reason);
      return [rejected, rejected];
    }
    const promise = new Promise<NvmeCompletion>(this.capture);
    const one = new Request(first, { complete: this.resolve, reject: this.reject });
    this.enqueue(one, undefined);
    const promise2 = new Promise<NvmeCompletion>(this.capture);
    const two = new Request(second, { complete: this.resolve, reject: this.reject });
    two.partner = one;
    this.enqueue(two, options);
    return [promise, promise2];
  }

  /**
   * Submits a checked read or write of one contiguous buffer. Allocates only the promise, unless the command waits.
   * @param lba a safe integer
   * @param cdw12 blocks and control
   * @throws ClosedError if the buffer is closed
   */
  transfer(
    opcode: number,
    nsid: number,
    lba: number,
    cdw12: number,
    buffer: DmaBuffer,
    offset: number,
    length: number,
  ): Promise<void> {
    buffer.lease.pin(HOLDER);
    const slot = this.suspended || this.waiting.length > 0 ? undefined : this.slots.take();
    if (slot === undefined) {
      buffer.lease.unpin();
      return this.execute(plainCommand(opcode, nsid, lba, cdw12, buffer, offset, length));
    }
    // All stores stand here. V8 doesn't inline a function of this length, so that it inlines everything that this one
    // calls. As part of a namespace's read() the calls would exceed what V8 inlines in one function.
    slot.opcode = opcode;
    slot.nsid = nsid;
    slot.lba = lba;
    slot.cdw12 = cdw12;
    slot.buffer = buffer;
    slot.offset = offset;
    slot.length = length;
    this.deadlines.begin(slot.index);
    const { words, slot: at } = this.sq;
    words[at] = opcode | (slot.cid << 16);
    words[at + 1] = nsid;
    words[at + 2] = 0;
    words[at + 3] = 0;
    words[at + 4] = 0;
    words[at + 5] = 0;
    words[at + 10] = lba;
    words[at + 11] = lba / TWO_32;
    words[at + 12] = cdw12;
    words[at + 13] = 0;
    words[at + 14] = 0;
    words[at + 15] = 0;
    writeBufferPrps(words, at, buffer, offset, length, this.pageBytes, slot.list);
    this.sq.post();
    if (this.statistics !== undefined) this.statistics.started(slot.index);
    if (submitChannel.hasSubscribers) submitChannel.publish(this.traceOf(slot));
    if (!this.flushScheduled) this.scheduleFlush();
    return new Promise((finish) => {
      slot.finish = finish;
    });
  }

  /**
   * Submits the commands of a batch in their order, each as soon as there is a slot.
   * @param onEnd see {@link PreparedCommands.begin}
   * @throws what begin() throws, and the error that the queue has failed with; nothing was submitted
   */
  submitBatch(batch: PreparedCommands, onEnd: (error: Error | undefined) => void): void {
    if (this.failure !== undefined) throw this.failure;
    batch.begin(onEnd);
    this.batches.push(batch);
    this.startBatches();
  }

  /** Submits a checked command without returning its completion. */
  private execute(command: NvmeCommand): Promise<void> {
    return new Promise((finish, reject) => this.enqueue(new Request(command, { finish, reject }), undefined));
  }

  /** Takes all new completions. @returns their number */
  reap(): number {
    if (this.suspended) return 0;
    const { cq } = this;
    const count = cq.reap(cq.entries);
    for (let i = 0; i < count && !this.suspended; i++) {
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
      this.startWaiting();
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
   * Takes back all outstanding commands, and lets new ones wait. Call it only when the controller has stopped writing to
   * memory, because it releases the buffers of rejected commands.
   * @param error reason of the rejections
   * @param stays selects the commands to submit again; background commands always are
   */
  suspend(error: Error, stays: (command: NvmeCommand) => boolean): void {
    if (this.failure !== undefined) return;
    this.suspended = true;
    this.epoch++;
    this.stopTimers();
    const again: Request[] = [];
    for (const request of this.slots.takeAll()) {
      const { command } = request;
      // Half of a fused operation may have been executed: it isn't submitted again.
      const isRepeated = command.background === true || (command.fuse === undefined && stays(command));
      if (isRepeated && !request.gaveUp) again.push(request);
      else request.fail(error);
    }
    append(again, this.waiting.splice(0));
    append(this.waiting, again);
    this.flushScheduled = false;
    this.noticeIdle();
  }

  /** Resets the rings for a controller that restarts. @param doorbells their new location */
  restart(doorbells: Uint32Array, afterRing: (() => void) | undefined): void {
    this.failure = undefined;
    this.suspended = true;
    this.afterRing = afterRing;
    this.memory.clear();
    this.sq.reset(doorbells);
    this.cq.reset(doorbells);
  }

  /** Ends a suspension: starts the waiting commands. */
  resume(): void {
    if (this.failure !== undefined) return;
    this.suspended = false;
    this.startWaiting();
  }

  /**
   * Rejects all commands, also future ones. Call it only when the controller has stopped writing to memory, because it
   * releases the buffers. The queue stays suspended.
   */
  fail(error: Error): void {
    if (this.failure !== undefined) return;
    this.suspend(error, () => false);
    this.failure = error;
    for (const request of this.waiting.splice(0)) request.fail(error);
    for (const batch of this.batches.splice(0)) batch.abandon(error);
    this.noticeIdle();
  }

  /** Frees the queues' memory. Call it only when the controller doesn't use it any more. */
  close(): void {
    this.stopTimers();
    this.memory.close();
  }

  /** Whether a slot has a command. */
  has(index: number): boolean {
    const slot = this.slots.all[index];
    return slot !== undefined && slot.cid >= 0;
  }

  /** The time limit of a slot's command has expired. */
  expire(index: number): void {
    const slot = this.slots.all[index];
    if (slot === undefined) return;
    this.options.onFailure(
      new TimeoutError(commandName(slot.command) + this.place(slot.cid), this.options.timeoutMs),
    );
  }

  private get isIdle(): boolean {
    return this.outstanding === 0 && this.waiting.length === 0 && this.batches.length === 0;
  }

  private noticeIdle(): void {
    if (!this.isIdle) return;
    for (const listener of this.idleListeners.splice(0)) listener();
  }

  private stopTimers(): void {
    this.deadlines.stop();
    this.watch.stop();
  }

  private enqueue(request: Request, options: CommandOptions | undefined): void {
    if (this.failure !== undefined) {
      request.giveUp(this.failure);
      return;
    }
    const { command } = request;
    if (command.background === true && !this.hasRoomForBackground()) {
      const why = `background commands use all but one of the ${this.slots.count} slots of queue ${this.id}`;
      request.giveUp(
        new UnsupportedError(
          `${commandName(command)}: ${why}; give the queue more entries (adminQueueEntries)`,
        ),
      );
      return;
    }
    if (options !== undefined && (options.timeoutMs !== undefined || options.signal !== undefined)) {
      if (options.signal?.aborted === true) {
        request.giveUp(options.signal.reason);
        return;
      }
      request.limits = new CommandLimits(
        () => commandName(command) + this.place(request.cid),
        options,
        (reason) => this.giveUp(request, reason),
      );
    }
    // From now on the buffers can't be closed, even while the command waits for a slot.
    holdData(command.data);
    holdData(command.metadata);
    if (this.suspended || this.waiting.length > 0 || !this.hasRoomFor(request)) this.waiting.push(request);
    else this.start(request);
  }

  /** Background commands have no time limit, so one slot is reserved for other commands. */
  private hasRoomForBackground(): boolean {
    const waiting = this.waiting.filter(({ command }) => command.background === true).length;
    return this.slots.background + waiting < this.slots.count - 1;
  }

  /** The first half of a fused operation starts only if there is a slot for the second half. */
  private hasRoomFor({ command }: Request): boolean {
    return this.slots.available >= (command.fuse === 1 ? 2 : 1);
  }

  /** Starts waiting commands while slots are free. */
  private startWaiting(): void {
    const { waiting } = this;
    while (!this.suspended) {
      const [next] = waiting;
      if (next === undefined || !this.hasRoomFor(next)) break;
      waiting.shift();
      this.start(next);
    }
    if (this.batches.length > 0) this.startBatches();
    if (this.idleListeners.length > 0) this.noticeIdle();
  }

  /** Starts commands of batches, behind those that wait, while slots are free. */
  private startBatches(): void {
    const { batches } = this;
    while (!this.suspended && this.waiting.length === 0) {
      const [next] = batches;
      if (next === undefined || !this.startBatch(next)) break;
      batches.shift();
    }
  }

  /** @returns whether all commands of the batch have a slot */
  private startBatch(batch: PreparedCommands): boolean {
    const { sq, slots } = this;
    const { length } = batch;
    while (batch.next < length) {
      const count = Math.min(length - batch.next, slots.available, sq.entries - sq.position);
      if (count === 0) break;
      this.startPart(batch, count);
    }
    if (!this.flushScheduled) this.scheduleFlush();
    return batch.next === length;
  }

  /** Starts the next commands of a batch, which have slots, and entries in a row. */
  private startPart(batch: PreparedCommands, count: number): void {
    const { sq, slots, deadlines, statistics } = this;
    const { words, entryWords } = sq;
    const isTraced = submitChannel.hasSubscribers;
    const from = batch.next;
    const start = sq.slot;
    batch.copyEntries(count, words, start, entryWords);
    batch.next += count;
    for (let i = 0; i < count; i++) {
      const slot = slots.take();
      if (slot === undefined) return;
      slot.batch = batch;
      slot.batchIndex = from + i;
      deadlines.begin(slot.index);
      const at = start + i * entryWords;
      words[at] = (words[at] ?? 0) | (slot.cid << 16);
      sq.post();
      if (statistics !== undefined) statistics.started(slot.index);
      if (isTraced) submitChannel.publish(this.traceOf(slot));
    }
  }

  /** Assigns a slot to a request, and writes its entry. */
  private start(request: Request): void {
    const slot = this.slots.take();
    if (slot === undefined) {
      this.waiting.unshift(request);
      return;
    }
    const { command } = request;
    slot.request = request;
    request.cid = slot.cid;
    if (command.background === true) {
      this.slots.background++;
      this.deadlines.beginUnlimited(slot.index);
    } else if (request.limits?.timeoutMs === undefined) this.deadlines.begin(slot.index);
    else this.deadlines.beginLimited(slot.index, request.limits.timeoutMs);
    const { words, slot: at } = this.sq;
    const cdw0 = command.opcode | ((command.fuse ?? 0) << 8) | (slot.cid << 16);
    writeCommandEntry(words, at, cdw0, command, this.pageBytes, slot.list);
    this.sq.post();
    if (this.statistics !== undefined) this.statistics.started(slot.index);
    if (submitChannel.hasSubscribers) submitChannel.publish(this.traceOf(slot));
    if (!this.flushScheduled) this.scheduleFlush();
  }

  /** Schedules one doorbell for all entries of this turn of the microtask queue. */
  private scheduleFlush(): void {
    this.flushScheduled = true;
    // Cheaper than queueMicrotask().
    void soon.then(this.flush);
  }

  /** Rings the doorbell for all entries of this turn of the microtask queue. */
  private readonly flush = (): void => {
    if (!this.flushScheduled) return;
    this.flushScheduled = false;
    if (this.suspended) return;
    this.sq.ring();
    this.afterRing?.();
    this.watch.begin();
  };

  // On the hot path. V8 limits what it inlines into a function, so rare cases have their own methods.
  private complete(cid: number, sqid: number, status: number, dw0: number, dw1: number): void {
    const slot = this.slots.find(cid);
    if (slot === undefined || sqid !== this.id) {
      this.refuse(cid, sqid);
      return;
    }
    if (this.statistics !== undefined) this.statistics.completed(slot.index, slot.command, status);
    if (completeChannel.hasSubscribers) this.publishCompletion(slot, status, dw0, dw1);
    const { request } = slot;
    if (request === undefined) this.slots.give(cid);
    else {
      if (request.command.background === true) this.slots.background--;
      if (!request.aborting) this.slots.give(cid);
    }
    if (status === 0) slot.end(dw0, dw1);
    else this.refused(slot, status);
  }

  private refused(slot: Slot, status: number): void {
    const error = new NvmeError(commandName(slot.command), status);
    noteError(this.options.name ?? "NVMe", error);
    slot.fail(error);
  }

  private refuse(cid: number, sqid: number): void {
    const what =
      sqid === this.id
        ? `command id ${cid}, which is not outstanding`
        : `submission queue ${sqid} (command id ${cid})`;
    this.options.onFailure(new NvmeProtocolError(`queue ${this.id}: completion for ${what}`));
  }

  private publishCompletion(slot: Slot, status: number, dw0: number, dw1: number): void {
    completeChannel.publish({ ...this.traceOf(slot), status, dw0, dw1 });
  }

  /** The caller stops waiting. The controller keeps the command and its data until it completes it. */
  private giveUp(request: Request, reason: unknown): void {
    if (reason instanceof TimeoutError) {
      // The completion may be here: the event loop runs timers before it looks at descriptors.
      this.reap();
      if (request.isOver) return;
    }
    const { cid, partner } = request;
    if (partner !== undefined && !partner.isOver && !partner.gaveUp) this.giveUp(partner, reason);
    if (cid >= 0) {
      request.giveUp(reason);
      void this.abort(request, cid);
      return;
    }
    const at = this.waiting.indexOf(request);
    if (at >= 0) this.waiting.splice(at, 1);
    request.fail(reason);
    this.noticeIdle();
  }

  /**
   * Asks the controller to abort a command, and repeats it while the answer is no: an Abort can overtake its command. The
   * command id stays in use until the answer, because the Abort could hit the next command with that id.
   */
  private async abort(request: Request, cid: number): Promise<void> {
    const { abort } = this.options;
    if (abort === undefined) return;
    const { epoch } = this;
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, MAX_ABORT_PAUSE_MS)) {
      request.aborting = true;
      const isAborted = await abort(this.id, cid);
      request.aborting = false;
      if (this.epoch !== epoch) return;
      if (request.cid !== cid) {
        this.slots.give(cid);
        this.startWaiting();
        return;
      }
      if (isAborted) return;
      await setTimeout(pauseMs, undefined, { ref: false });
      if (this.epoch !== epoch || request.cid !== cid) return;
    }
  }

  /** Describes a command's place, for the message of a timeout. */
  private place(cid: number): string {
    const { sq, cq, outstanding, waiting } = this;
    const id = cid < 0 ? "waiting for a slot" : `command id ${cid}`;
    return (
      ` on queue ${this.id} (${id}; submission tail ${sq.position}, completion head ${cq.position.head}, ` +
      `${outstanding} outstanding, ${waiting.length} waiting)`
    );
  }

  private traceOf({ cid, command }: Slot): CommandTrace {
    return { controller: this.options.name ?? "", queue: this.id, cid, command };
  }
}
