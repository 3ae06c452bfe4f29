/**
 * Rings without request handling, for custom drivers and tests of controllers. Each submission and completion queue is
 * created alone, and several submission queues may share one completion queue. Entries are not checked. After the creation
 * of a queue, nothing here allocates, waits or makes a system call.
 */

import { checkInteger, checkKeys, checkU32, lookUp, show } from "../../core/check.js";
import { ArgumentError, BusyError, StateError, UnsupportedError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { RegisterAccess } from "../memory/registers.js";
import { completionDoorbell, submissionDoorbell } from "../spec/doorbells.js";
import { QueuePriority } from "../spec/queues.js";
import { DOORBELL_BASE } from "../spec/registers.js";
import { CompletionQueue, CQE_WORDS } from "./completion-queue.js";
import { type HandedOver, HandOver } from "./handed-queues.js";
import {
  createCompletionQueue,
  createSubmissionQueue,
  deleteCompletionQueue,
  deleteSubmissionQueue,
} from "./queue-commands.js";
import { ringMemory } from "./ring-memory.js";
import type { SubmissionQueue } from "./submission-queue.js";
import { makeSubmissionQueue } from "./wide-submission-queue.js";

/** Options of {@link NvmeRings.createCompletionQueue}. */
export interface RawQueueOptions {
  /** Queue identifier. The controller's queue pairs must not use it. */
  readonly id: number;
  /** Number of entries of the ring. */
  readonly entries: number;
  /** The ring's memory, in a DMA buffer or the CMB. It starts at a memory page. Default: allocated. */
  readonly memory?: DmaBuffer | undefined;
  /** Completion queues: interrupt vector; none by default. */
  readonly vector?: number | undefined;
  /** Submission queues: priority, for weighted arbitration. */
  readonly priority?: keyof typeof QueuePriority | undefined;
}

/** What a queue needs from the controller. */
export interface QueueHost {
  readonly name: string;
  readonly dma: DmaSpace;
  readonly strideWords: number;
  /** The doorbells, for a queue that uses the one with this index. */
  doorbells(index: number): Uint32Array;
  /** Doorbells that other threads can write; undefined if they aren't mapped. */
  sharedDoorbells(): Uint32Array | undefined;
  /** Passes on doorbells that aren't mapped. */
  afterRing(): void;
  readonly bar: RegisterAccess;
  readonly lease: Lease;
}

/** What rings need from a controller with a driver. */
export interface RingHost extends QueueHost {
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** From one entry of an I/O submission queue to the next, in 32-bit words. */
  readonly entryWords: number;
  admin(command: NvmeCommand): Promise<NvmeCompletion>;
}

/** Common part of both kinds of queues. */
abstract class RawQueue extends Resource {
  protected constructor(
    /** What the queue needs from the controller. */
    protected readonly host: QueueHost,
    /** Queue identifier. */
    readonly id: number,
    /** The ring's memory. */
    readonly memory: DmaBuffer,
    private readonly doorbell: number,
    isOwn: boolean,
    what: string,
  ) {
    memory.lease.pin(what);
    const own = isOwn ? memory.relinquish() : undefined;
    const release = (): void => {
      memory.lease.unpin();
      own?.close();
    };
    super(new Lease(`${what} ${id} of ${host.name}`, release, host.lease));
  }

  /**
   * Writes any value to the doorbell, also an invalid one, for tests. A controller reports a value outside the queue by an
   * event (Invalid Doorbell Write Value).
   */
  ringWrongly(value: number): void {
    this.lease.assertOpen();
    checkU32("value", value);
    // Earlier doorbell writes must come first.
    this.host.afterRing();
    this.host.bar.write32(DOORBELL_BASE + 4 * this.doorbell, value);
  }

  /** Index of the doorbell, in 32-bit words from the first one. */
  get doorbellIndex(): number {
    return this.doorbell;
  }
}

/** A completion queue without a driver. Use its {@link ring}: `peek`, `take`, `reap`, `ring`. */
export class RawCompletionQueue extends RawQueue {
  /** The ring. */
  readonly ring: CompletionQueue;
  /** Number of submission queues that use this completion queue. */
  readonly users = new Set<number>();

  /** @internal */
  constructor(host: QueueHost, id: number, entries: number, memory: DmaBuffer, isOwn: boolean) {
    const doorbell = completionDoorbell(id, host.strideWords);
    super(host, id, memory, doorbell, isOwn, "completion queue");
    const words = memory.memory.words.subarray(0, entries * CQE_WORDS);
    this.ring = new CompletionQueue(id, entries, words, host.doorbells(doorbell), doorbell);
  }

  /** Returns the taken entries to the controller, also if doorbells aren't mapped. */
  ringDoorbell(): void {
    this.ring.ring();
    this.host.afterRing();
  }

  /** Reads the phase bit of any entry without taking it. @throws ArgumentError */
  phaseAt(index: number): 0 | 1 {
    checkInteger("index", index, 0, this.ring.entries - 1);
    const dw3 = this.ring.words[index * CQE_WORDS + 3] ?? 0;
    return ((dw3 >>> 16) & 1) === 1 ? 1 : 0;
  }

  /** Inverts the phase bit of an entry, for tests: an old completion looks new, or a new one old. */
  flipPhase(index: number): void {
    const phase = this.phaseAt(index);
    const at = index * CQE_WORDS + 3;
    this.ring.words[at] = ((this.ring.words[at] ?? 0) & ~(1 << 16)) | ((phase ^ 1) << 16);
  }
}

/** A submission queue without a driver. Use its {@link ring}: fill `words` from `slot` on, `post`, `ring`. */
export class RawSubmissionQueue extends RawQueue {
  /** The ring. */
  readonly ring: SubmissionQueue;
  /** State shared with the other thread that has the queue. */
  private away: Int32Array | undefined = undefined;

  /** @internal */
  constructor(
    host: QueueHost,
    id: number,
    entries: number,
    memory: DmaBuffer,
    isOwn: boolean,
    /** The queue for its completions. */
    readonly completionQueue: RawCompletionQueue,
    entryWords: number,
  ) {
    const doorbell = submissionDoorbell(id, host.strideWords);
    super(host, id, memory, doorbell, isOwn, "submission queue");
    const words = memory.memory.words.subarray(0, entries * entryWords);
    this.ring = makeSubmissionQueue(entryWords, id, entries, words, host.doorbells(doorbell), doorbell);
  }

  /** Announces the posted entries, also if doorbells aren't mapped. */
  ringDoorbell(): void {
    this.ring.ring();
    this.host.afterRing();
  }

  /**
   * Hands this queue and its completion queue over to another thread. Send the result with `worker.postMessage`; the worker
   * calls {@link HandedQueues.take}. Don't use the queues here until it has given them back and {@link takeBack} was called.
   * No command may be outstanding.
   * @throws StateError if they are handed over already or the completion queue is shared, UnsupportedError if doorbells aren't
   *   mapped
   */
  handOver(): HandedOver {
    this.lease.assertOpen();
    if (this.away !== undefined) throw new StateError(`another thread has submission queue ${this.id}`);
    if (this.completionQueue.users.size > 1) {
      throw new StateError(
        `completion queue ${this.completionQueue.id} has other submission queues: delete them first`,
      );
    }
    const { host, ring, completionQueue } = this;
    const doorbells = host.sharedDoorbells();
    if (doorbells === undefined) {
      throw new UnsupportedError(
        `the doorbells of ${host.name} can't be mapped: another thread can't use them`,
      );
    }
    const state = new Int32Array(new SharedArrayBuffer(16));
    const { head, phase } = completionQueue.ring.position;
    state.set([HandOver.sent, ring.position, head, phase]);
    this.away = state;
    this.lease.pin("another thread");
    completionQueue.lease.pin("another thread");
    return {
      sqid: this.id,
      cqid: completionQueue.id,
      sqWords: ring.words,
      sqEntryWords: ring.entryWords,
      cqWords: completionQueue.ring.words,
      doorbells,
      sqDoorbell: this.doorbellIndex,
      cqDoorbell: completionQueue.doorbellIndex,
      state,
    };
  }

  /** Whether another thread has the queues. */
  get isAway(): boolean {
    return this.away !== undefined;
  }

  /** Takes the queues back. @throws BusyError while the other thread has them, StateError */
  takeBack(): void {
    const { away } = this;
    if (away === undefined) throw new StateError(`submission queue ${this.id} was not handed over`);
    const isBack = Atomics.compareExchange(away, 0, HandOver.returned, HandOver.home) === HandOver.returned;
    // Queues that the other thread hasn't taken can be taken back at any time.
    if (!isBack && Atomics.compareExchange(away, 0, HandOver.sent, HandOver.home) !== HandOver.sent) {
      throw new BusyError(`another thread has submission queue ${this.id}: it must call giveBack()`);
    }
    this.endAway();
    this.ring.moveTo(away[1] ?? 0);
    this.completionQueue.ring.moveTo(away[2] ?? 0, away[3] ?? 1);
  }

  /**
   * The controller has stopped: takes the queues from the other thread.
   * @internal
   */
  recall(): void {
    if (this.away === undefined) return;
    Atomics.store(this.away, 0, HandOver.gone);
    this.endAway();
  }

  private endAway(): void {
    this.away = undefined;
    this.lease.unpin();
    this.completionQueue.lease.unpin();
  }
}

/** A controller's rings and registers, for tests of controllers. See {@link NvmeController.rings}. */
export class NvmeRings {
  private readonly queues = new Map<string, RawQueue>();

  private constructor(private readonly host: RingHost) {}

  /** @internal */
  static of(host: RingHost): NvmeRings {
    return new NvmeRings(host);
  }

  /** Reads a register, 32 bits. @param offset bytes in BAR 0, a multiple of 4 @throws ArgumentError, ClosedError */
  readRegister(offset: number): number {
    return this.host.bar.read32(offset);
  }

  /**
   * Writes a register without any check. The driver detects a controller that stops.
   * @throws ArgumentError, ClosedError
   */
  writeRegister(offset: number, value: number): void {
    this.host.bar.write32(offset, value);
  }

  /** Creates a completion queue. @throws ArgumentError, BusyError if the id is in use here, NvmeError, ... */
  async createCompletionQueue(options: RawQueueOptions): Promise<RawCompletionQueue> {
    checkKeys("options", options, ["id", "entries", "vector", "memory"]);
    const { id, entries, vector } = options;
    const { host } = this;
    this.check("completion", id, entries);
    if (vector !== undefined) checkInteger("vector", vector, 0, 0xffff);
    const { memory, isOwn } = this.ringMemory(options, CQE_WORDS * 4);
    const queue = new RawCompletionQueue(host, id, entries, memory, isOwn);
    const command = createCompletionQueue({ id, entries, memory, pageBytes: host.pageBytes }, vector);
    return await this.create(`completion ${id}`, queue, command);
  }

  /** Creates a submission queue. Several may share a completion queue. @throws as createCompletionQueue() */
  async createSubmissionQueue(
    completionQueue: RawCompletionQueue,
    options: RawQueueOptions,
  ): Promise<RawSubmissionQueue> {
    checkKeys("options", options, ["id", "entries", "priority", "memory"]);
    const { id, entries, priority } = options;
    const { host } = this;
    if (!(completionQueue instanceof RawCompletionQueue)) {
      throw new ArgumentError("completionQueue must come from createCompletionQueue()");
    }
    completionQueue.lease.assertOpen();
    if (priority !== undefined) lookUp("priority", priority, QueuePriority);
    this.check("submission", id, entries);
    const { memory, isOwn } = this.ringMemory(options, host.entryWords * 4);
    const queue = new RawSubmissionQueue(host, id, entries, memory, isOwn, completionQueue, host.entryWords);
    const ring = { id, entries, memory, pageBytes: host.pageBytes };
    const command = createSubmissionQueue(ring, completionQueue.id, priority);
    const created = await this.create(`submission ${id}`, queue, command);
    completionQueue.users.add(id);
    return created;
  }

  /**
   * Deletes a queue at the controller, and frees its memory. A controller rejects the deletion of a completion queue that has
   * submission queues.
   * @throws ArgumentError; NvmeError, and the queue still exists then. BusyError while another thread has it
   */
  async delete(queue: RawCompletionQueue | RawSubmissionQueue): Promise<void> {
    const isSubmission = queue instanceof RawSubmissionQueue;
    if (!isSubmission && !(queue instanceof RawCompletionQueue))
      throw new ArgumentError(
        `queue must come from createCompletionQueue() or createSubmissionQueue(), got ${show(queue)}`,
      );
    queue.lease.assertOpen();
    queue.lease.assertIdle();
    await this.host.admin(isSubmission ? deleteSubmissionQueue(queue.id) : deleteCompletionQueue(queue.id));
    if (isSubmission) queue.completionQueue.users.delete(queue.id);
    this.queues.delete(`${isSubmission ? "submission" : "completion"} ${queue.id}`);
    queue.close();
  }

  /**
   * Closes all queues, after the controller has stopped. One that the program holds stays for the program to close: a failure and a restart
   * can't wait for it.
   * @internal
   */
  close(): void {
    const queues = [...this.queues];
    for (const [, queue] of queues) if (queue instanceof RawSubmissionQueue) queue.recall();
    for (const [key, queue] of queues) {
      try {
        queue.close();
        this.queues.delete(key);
      } catch (error) {
        if (!(error instanceof BusyError)) throw error;
      }
    }
  }

  private check(kind: string, id: number, entries: number): void {
    checkInteger("id", id, 1, 0xffff);
    checkInteger("entries", entries, 2, 65536);
    if (this.queues.get(`${kind} ${id}`)?.closed === false) throw new BusyError(`${kind} queue ${id} exists`);
  }

  private ringMemory(
    { entries, memory }: RawQueueOptions,
    entryBytes: number,
  ): ReturnType<typeof ringMemory> {
    const { dma, pageBytes } = this.host;
    return ringMemory(dma, memory, entries * entryBytes, pageBytes);
  }

  private async create<T extends RawQueue>(name: string, queue: T, command: NvmeCommand): Promise<T> {
    this.queues.set(name, queue);
    try {
      await this.host.admin(command);
      return queue;
    } catch (error) {
      this.queues.delete(name);
      queue.close();
      throw error;
    }
  }
}
