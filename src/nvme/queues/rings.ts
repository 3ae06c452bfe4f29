/**
 * Rings for drivers of drivers and for testers of controllers: queues without any request handling above them. Submission
 * and completion queues are made one by one, several submission queues may report to one completion queue, and what is
 * posted is posted, be it right or wrong. Nothing here allocates, waits or calls the system once a queue is there.
 */

import { checkInteger, checkU32 } from "../../core/check.js";
import { ArgumentError, BusyError, StateError, UnsupportedError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { RegisterAccess } from "../memory/registers.js";
import { QueuePriority } from "../spec/queues.js";
import { DOORBELL_BASE } from "../spec/registers.js";
import { CompletionQueue, CQE_WORDS } from "./completion-queue.js";
import { completionDoorbell, submissionDoorbell } from "./doorbells.js";
import { type HandedOver, HandOver } from "./handed-queues.js";
import {
  createCompletionQueue,
  createSubmissionQueue,
  deleteCompletionQueue,
  deleteSubmissionQueue,
} from "./queue-commands.js";
import { allocRing, checkRing, clearRing } from "./ring-memory.js";
import { SQE_WORDS, SubmissionQueue } from "./submission-queue.js";

/** Options of {@link NvmeRings.createCompletionQueue}. */
export interface RawQueueOptions {
  /** Queue identifier, one that the controller's queue pairs don't have. */
  readonly id: number;
  /** Number of entries of the ring. */
  readonly entries: number;
  /** The ring's memory, at the start of a memory page: an ordinary buffer, or one in the CMB. Allocated where left out. */
  readonly memory?: DmaBuffer | undefined;
  /** Completion queues: interrupt vector; none where left out. */
  readonly vector?: number | undefined;
  /** Submission queues: priority, where arbitration is weighted. */
  readonly priority?: keyof typeof QueuePriority | undefined;
}

/** What is needed of the controller. */
export interface RingHost {
  readonly name: string;
  readonly dma: DmaSpace;
  readonly pageBytes: number;
  readonly strideWords: number;
  /** The doorbells, of which a queue is going to ring the one with this index. */
  doorbells(index: number): Uint32Array;
  /** Doorbells that other threads can write, too. */
  sharedDoorbells(): Uint32Array | undefined;
  /** Passes doorbells on that can't be mapped. */
  afterRing(): void;
  readonly bar: RegisterAccess;
  readonly lease: Lease;
  admin(command: NvmeCommand): Promise<NvmeCompletion>;
}

/** What both kinds of queues have. */
abstract class RawQueue extends Resource {
  protected constructor(
    /** The controller, as far as a queue needs it. */
    protected readonly host: RingHost,
    /** Queue identifier. */
    readonly id: number,
    /** The ring's memory. */
    readonly memory: DmaBuffer,
    private readonly doorbell: number,
    isOwn: boolean,
    what: string,
  ) {
    memory.lease.hold(what);
    const own = isOwn ? memory.relinquish() : undefined;
    const release = (): void => {
      memory.lease.drop();
      own?.close();
    };
    super(new Lease(`${what} ${id} of ${host.name}`, release, host.lease));
  }

  /**
   * Wrong on purpose: writes any value to the doorbell, whatever was posted or taken. A controller reports a value outside
   * the queue by an event (Invalid Doorbell Write Value).
   */
  ringWrongly(value: number): void {
    this.lease.assertOpen();
    checkU32("value", value);
    // What was rung before goes first.
    this.host.afterRing();
    this.host.bar.write32(DOORBELL_BASE + 4 * this.doorbell, value);
  }

  /** Place of the doorbell among the doorbells, in 32-bit words. */
  get doorbellIndex(): number {
    return this.doorbell;
  }
}

/** A completion queue alone. {@link ring} is its ring: `peek`, `take`, `reap`, `ring`. */
export class RawCompletionQueue extends RawQueue {
  /** The ring. */
  readonly ring: CompletionQueue;
  /** Submission queues that report here. */
  users = 0;

  /** @internal */
  constructor(host: RingHost, id: number, entries: number, memory: DmaBuffer, isOwn: boolean) {
    const doorbell = completionDoorbell(id, host.strideWords);
    super(host, id, memory, doorbell, isOwn, "completion queue");
    const words = memory.memory.words.subarray(0, entries * CQE_WORDS);
    this.ring = new CompletionQueue(id, entries, words, host.doorbells(doorbell), doorbell);
  }

  /** Gives what was taken back to the controller, also where doorbells go by message. */
  ringDoorbell(): void {
    this.ring.ring();
    this.host.afterRing();
  }

  /** The phase bit of any entry, looked at without taking anything. @throws ArgumentError */
  phaseAt(index: number): 0 | 1 {
    checkInteger("index", index, 0, this.ring.entries - 1);
    const dw3 = this.ring.words[index * CQE_WORDS + 3] ?? 0;
    return ((dw3 >>> 16) & 1) === 1 ? 1 : 0;
  }

  /** Wrong on purpose: turns the phase bit of an entry, so that an old completion looks new, or a new one old. */
  flipPhase(index: number): void {
    const phase = this.phaseAt(index);
    const at = index * CQE_WORDS + 3;
    this.ring.words[at] = ((this.ring.words[at] ?? 0) & ~(1 << 16)) | ((phase ^ 1) << 16);
  }
}

/** A submission queue alone. {@link ring} is its ring: fill `words` from `slot` on, `post`, `ring`. */
export class RawSubmissionQueue extends RawQueue {
  /** The ring. */
  readonly ring: SubmissionQueue;
  /** While another thread has it. */
  private away: Int32Array | undefined = undefined;

  /** @internal */
  constructor(
    host: RingHost,
    id: number,
    entries: number,
    memory: DmaBuffer,
    isOwn: boolean,
    /** Where it reports to. */
    readonly completionQueue: RawCompletionQueue,
  ) {
    const doorbell = submissionDoorbell(id, host.strideWords);
    super(host, id, memory, doorbell, isOwn, "submission queue");
    const words = memory.memory.words.subarray(0, entries * SQE_WORDS);
    this.ring = new SubmissionQueue(id, entries, words, host.doorbells(doorbell), doorbell);
  }

  /** Announces what was posted, also where doorbells go by message. */
  ringDoorbell(): void {
    this.ring.ring();
    this.host.afterRing();
  }

  /**
   * For `worker.postMessage`: this queue and its completion queue in another thread, which takes them with
   * {@link HandedQueues.take}. Until that gives them back and {@link takeBack} was called, they are not to be used here.
   * Nothing may be outstanding.
   * @throws StateError where they are away already or the completion queue has other submission queues, UnsupportedError where doorbells go by message
   */
  handOver(): HandedOver {
    this.lease.assertOpen();
    if (this.away !== undefined) throw new StateError(`submission queue ${this.id} is with another thread`);
    if (this.completionQueue.users > 1) {
      throw new StateError(`completion queue ${this.completionQueue.id} has other submission queues, too`);
    }
    const { host, ring, completionQueue } = this;
    const doorbells = host.sharedDoorbells();
    if (doorbells === undefined) {
      throw new UnsupportedError(`the doorbells of ${host.name} can't be mapped, and so not be shared`);
    }
    const state = new Int32Array(new SharedArrayBuffer(16));
    const { head, phase } = completionQueue.ring.position;
    state.set([HandOver.sent, ring.position, head, phase]);
    this.away = state;
    this.lease.hold("another thread");
    completionQueue.lease.hold("another thread");
    return {
      sqid: this.id,
      cqid: completionQueue.id,
      sqWords: ring.words,
      cqWords: completionQueue.ring.words,
      doorbells,
      sqDoorbell: this.doorbellIndex,
      cqDoorbell: completionQueue.doorbellIndex,
      state,
    };
  }

  /** Whether they are with another thread. */
  get isAway(): boolean {
    return this.away !== undefined;
  }

  /** The queues are this thread's again. @throws BusyError as long as the other thread has them, StateError */
  takeBack(): void {
    const { away } = this;
    if (away === undefined) throw new StateError(`submission queue ${this.id} is with this thread`);
    const isBack = Atomics.compareExchange(away, 0, HandOver.returned, HandOver.home) === HandOver.returned;
    // What nobody took can be had back at any time.
    if (!isBack && Atomics.compareExchange(away, 0, HandOver.sent, HandOver.home) !== HandOver.sent) {
      throw new BusyError(`submission queue ${this.id} is with another thread`);
    }
    this.endAway();
    this.ring.moveTo(away[1] ?? 0);
    this.completionQueue.ring.moveTo(away[2] ?? 0, away[3] ?? 1);
  }

  /**
   * The controller has stopped: no thread has the queues any more.
   * @internal
   */
  recall(): void {
    if (this.away === undefined) return;
    Atomics.store(this.away, 0, HandOver.gone);
    this.endAway();
  }

  private endAway(): void {
    this.away = undefined;
    this.lease.drop();
    this.completionQueue.lease.drop();
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

  /** Any register, 32 bits. @param offset bytes in BAR 0, a multiple of 4 @throws ArgumentError, ClosedError */
  readRegister(offset: number): number {
    return this.host.bar.read32(offset);
  }

  /**
   * Writes any register: whatever follows is the caller's business. The driver notices a controller that stops.
   * @throws ArgumentError, ClosedError
   */
  writeRegister(offset: number, value: number): void {
    this.host.bar.write32(offset, value);
  }

  /** @throws ArgumentError, BusyError where the id is in use here, NvmeError, ... */
  async createCompletionQueue(options: RawQueueOptions): Promise<RawCompletionQueue> {
    const { id, entries, vector } = options;
    const { host } = this;
    this.check("completion", id, entries);
    if (vector !== undefined) checkInteger("vector", vector, 0, 0xffff);
    const { memory, isOwn } = this.ringMemory(options, CQE_WORDS * 4);
    const queue = new RawCompletionQueue(host, id, entries, memory, isOwn);
    const command = createCompletionQueue({ id, entries, memory, pageBytes: host.pageBytes }, vector);
    return await this.create(`completion ${id}`, queue, command);
  }

  /** Several may report to one completion queue. @throws as createCompletionQueue() */
  async createSubmissionQueue(
    completionQueue: RawCompletionQueue,
    options: RawQueueOptions,
  ): Promise<RawSubmissionQueue> {
    const { id, entries, priority } = options;
    const { host } = this;
    if (!(completionQueue instanceof RawCompletionQueue)) {
      throw new ArgumentError("completionQueue must come from createCompletionQueue()");
    }
    completionQueue.lease.assertOpen();
    if (priority !== undefined && !Object.hasOwn(QueuePriority, priority)) {
      throw new ArgumentError(`priority must be one of ${Object.keys(QueuePriority).join(", ")}`);
    }
    this.check("submission", id, entries);
    const { memory, isOwn } = this.ringMemory(options, SQE_WORDS * 4);
    const queue = new RawSubmissionQueue(host, id, entries, memory, isOwn, completionQueue);
    const ring = { id, entries, memory, pageBytes: host.pageBytes };
    const command = createSubmissionQueue(ring, completionQueue.id, priority);
    const created = await this.create(`submission ${id}`, queue, command);
    completionQueue.users++;
    return created;
  }

  /**
   * Deletes a queue at the controller, and gives its memory back. In any order: a controller refuses to delete a completion
   * queue that submission queues report to.
   * @throws NvmeError, with the queue kept; BusyError while it is with another thread
   */
  async delete(queue: RawCompletionQueue | RawSubmissionQueue): Promise<void> {
    queue.lease.assertOpen();
    queue.lease.assertIdle();
    const isSubmission = queue instanceof RawSubmissionQueue;
    await this.host.admin(isSubmission ? deleteSubmissionQueue(queue.id) : deleteCompletionQueue(queue.id));
    if (isSubmission) queue.completionQueue.users--;
    this.queues.delete(`${isSubmission ? "submission" : "completion"} ${queue.id}`);
    queue.close();
  }

  /**
   * The controller was stopped.
   * @internal
   */
  close(): void {
    const queues = [...this.queues.values()];
    for (const queue of queues) if (queue instanceof RawSubmissionQueue) queue.recall();
    for (const queue of queues) queue.close();
    this.queues.clear();
  }

  private check(kind: string, id: number, entries: number): void {
    checkInteger("id", id, 1, 0xffff);
    checkInteger("entries", entries, 2, 65536);
    if (this.queues.has(`${kind} ${id}`)) throw new BusyError(`${kind} queue ${id} exists`);
  }

  private ringMemory(
    { entries, memory }: RawQueueOptions,
    entryBytes: number,
  ): { readonly memory: DmaBuffer; readonly isOwn: boolean } {
    const { dma, pageBytes } = this.host;
    const sizeBytes = entries * entryBytes;
    if (memory === undefined) return { memory: allocRing(dma, sizeBytes, pageBytes), isOwn: true };
    checkRing("memory", memory, dma, sizeBytes, pageBytes);
    clearRing(memory.memory.words.subarray(0, sizeBytes / 4));
    return { memory, isOwn: false };
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
