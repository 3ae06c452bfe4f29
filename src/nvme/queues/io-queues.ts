/** The I/O queue pairs of a controller: created, deleted, and created again after a reset. */
import { checkInteger } from "../../core/check.js";
import { ArgumentError, BusyError, ClosedError, UnsupportedError } from "../../core/errors.js";
import { largestOf } from "../../core/lists.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { NvmeError } from "../command/error.js";
import type { NvmeQueue, QueueOptions, RingBuffers } from "../command/queue.js";
import type { QueueStatistics } from "../command/queue-statistics.js";
import { QueuePriority } from "../spec/queues.js";
import { createPair, deletePair, requestPairs } from "./queue-commands.js";
import type { QueuePair } from "./queue-pair.js";
import type { ShadowDoorbells } from "./shadow-doorbells.js";

/** What is needed of the controller. */
export interface QueueHost {
  readonly name: string;
  readonly maxQueueEntries: number;
  /** I/O queue pairs whose doorbells lie in BAR 0. */
  readonly maxQueues: number;
  readonly pageBytes: number;
  /** Interrupt vectors switched on; 0 where completions are polled for. */
  readonly vectorCount: number;
  readonly weighted: boolean;
  /** Doorbells in memory, where they are in use. */
  shadow(): ShadowDoorbells | undefined;
  admin(command: NvmeCommand): Promise<NvmeCompletion>;
  makePair(id: number, entries: number, memory: RingBuffers | undefined): QueuePair;
}

/** Identifiers of queues have 16 bits, and 0 is the admin queue's. */
const MOST_QUEUES = 65535;

/** One pair, and how it is made again after a reset. */
class IoQueue implements NvmeQueue {
  isDeleted = false;

  constructor(
    readonly owner: IoQueues,
    readonly pair: QueuePair,
    readonly vector: number,
    readonly priority: keyof typeof QueuePriority | undefined,
  ) {}

  get id(): number {
    return this.pair.id;
  }

  get entries(): number {
    return this.pair.entries;
  }

  get outstanding(): number {
    return this.pair.outstanding;
  }

  collectStatistics(): QueueStatistics {
    return this.pair.collectStatistics();
  }

  endStatistics(): void {
    this.pair.endStatistics();
  }
}

/** The I/O queue pairs of a controller: made and deleted by command, and found again by interrupt vector. */
export class IoQueues {
  private list: readonly IoQueue[] = [];
  private pairs: readonly QueuePair[] = [];
  private turn = 0;
  /** Most that the controller has given; known after negotiate(). */
  private granted = 0;
  /** Why the controller gives none. */
  private refusal: NvmeError | undefined;
  /** Being made: their ids are taken. */
  private readonly inMaking = new Set<number>();

  constructor(
    private readonly host: QueueHost,
    private readonly defaultEntries: number,
  ) {}

  get all(): readonly NvmeQueue[] {
    return this.list;
  }

  /** How many there can be. */
  get limit(): number {
    return this.granted;
  }

  /** Where the next command goes: round the queues. */
  next(): QueuePair | undefined {
    const { pairs } = this;
    if (pairs.length < 2) return pairs[0];
    if (++this.turn >= pairs.length) this.turn = 0;
    return pairs[this.turn];
  }

  /** @throws ArgumentError where it is another controller's, or was deleted */
  pairOf(queue: NvmeQueue): QueuePair {
    if (queue instanceof IoQueue && queue.owner === this && !queue.isDeleted) return queue.pair;
    throw new ArgumentError("this is no queue of this controller, or one that was deleted");
  }

  each(act: (pair: QueuePair) => void): void {
    for (const { pair } of this.list) act(pair);
  }

  /** Takes what has completed on the queues of one vector. */
  reap(vector: number): void {
    for (const queue of this.list) if (queue.vector === vector) queue.pair.reap();
  }

  /**
   * Asks for so many queues (Set Features, Number of Queues), before the first is made. A controller that refuses gives none.
   * @throws TimeoutError, DeviceGoneError
   */
  async negotiate(wanted: number): Promise<void> {
    try {
      const pairs = await requestPairs((command) => this.host.admin(command), wanted);
      this.granted = Math.min(pairs, MOST_QUEUES, this.host.maxQueues);
    } catch (error) {
      // A controller in trouble refuses. Its admin commands can still tell why.
      if (!(error instanceof NvmeError)) throw error;
      this.granted = 0;
      this.refusal = error;
    }
  }

  /** @throws ArgumentError, UnsupportedError where there are as many as the controller gives, NvmeError, ... */
  async create(options: QueueOptions = {}): Promise<NvmeQueue> {
    const { host } = this;
    const { priority, memory } = options;
    const asked = checkInteger("entries", options.entries ?? this.defaultEntries, 2, 65536);
    if (host.maxQueueEntries < 2) {
      throw new UnsupportedError(
        `${host.name} has I/O queues of 1 entry (CAP.MQES 0), and a queue needs 2: open it with queues 0 for admin commands`,
      );
    }
    const entries = Math.min(asked, host.maxQueueEntries);
    if (priority !== undefined) {
      if (!Object.hasOwn(QueuePriority, priority)) {
        throw new ArgumentError(`priority must be one of ${Object.keys(QueuePriority).join(", ")}`);
      }
      if (!host.weighted)
        throw new UnsupportedError("queues have a priority only where arbitration is weighted");
    }
    const id = this.freeId();
    const vector = this.vectorFor(id, options.vector);
    this.inMaking.add(id);
    try {
      const pair = host.makePair(id, entries, memory);
      const queue = new IoQueue(this, pair, vector, priority);
      try {
        await this.createAt(queue);
      } catch (error) {
        pair.fail(new ClosedError(`queue ${id} of ${host.name}`));
        pair.close();
        throw error;
      }
      this.setList([...this.list, queue]);
      return queue;
    } finally {
      this.inMaking.delete(id);
    }
  }

  /**
   * Waits for what is outstanding on it, and deletes it: the submission queue first, since its completion queue must exist
   * as long as it does.
   * @throws ArgumentError, BusyError where it is being deleted already, NvmeError, TimeoutError, DeviceGoneError
   */
  async delete(queue: NvmeQueue): Promise<void> {
    const pair = this.pairOf(queue);
    if (this.inMaking.has(queue.id)) throw new BusyError(`queue ${queue.id} is being deleted`);
    this.inMaking.add(queue.id);
    try {
      // Nothing new comes to it from now on.
      this.setList(this.list, queue);
      await pair.idle();
      await this.deleteAt(pair);
      this.setList(this.list.filter((each) => each !== queue || markDeleted(each)));
    } finally {
      this.inMaking.delete(queue.id);
      if (this.list.some((each) => each === queue)) this.setList(this.list);
    }
    pair.fail(new ClosedError(`queue ${queue.id} of ${this.host.name}`));
    pair.close();
  }

  /** Deletes all at the controller; their memory is kept until close(). */
  async deleteAll(): Promise<void> {
    for (const { pair } of this.list) await this.deleteAt(pair);
  }

  /** After a reset: the same queues again. @throws UnsupportedError where the controller gives fewer now, NvmeError, ... */
  async rebuild(): Promise<void> {
    if (this.list.length === 0) return;
    await this.negotiate(largestOf(this.list.map(({ id }) => id)));
    for (const queue of this.list) {
      if (queue.id > this.granted) {
        throw new UnsupportedError(`${this.host.name} gives ${this.granted} queues now`);
      }
      await this.createAt(queue);
    }
  }

  /** Gives the memory of all back, after the controller was stopped. */
  close(): void {
    for (const { pair } of this.list) pair.close();
    this.setList([]);
  }

  /** @param closing gets no more commands by turns */
  private setList(list: readonly IoQueue[], closing?: NvmeQueue): void {
    this.list = list;
    this.pairs = list.filter((queue) => queue !== closing).map(({ pair }) => pair);
    this.turn = 0;
  }

  /** Why there is no queue for a command or for a new pair. */
  missing(): UnsupportedError {
    const { refusal, granted, host } = this;
    if (refusal !== undefined) {
      const why = `${host.name} gives no I/O queues: ${refusal.message}`;
      return new UnsupportedError(why, { cause: refusal });
    }
    return this.list.length === 0
      ? new UnsupportedError(`${host.name} was opened without I/O queues`)
      : new UnsupportedError(
          `${host.name} has no more than ${granted} I/O queue pairs for us: open it with more (queues)`,
        );
  }

  private freeId(): number {
    for (let id = 1; id <= this.granted; id++) {
      if (!this.inMaking.has(id) && !this.list.some((queue) => queue.id === id)) return id;
    }
    throw this.missing();
  }

  /** The admin queue has the first, where there are several. */
  private vectorFor(id: number, asked: number | undefined): number {
    const { vectorCount } = this.host;
    if (asked !== undefined) return checkInteger("vector", asked, 0, Math.max(1, vectorCount) - 1);
    return vectorCount < 2 ? 0 : 1 + ((id - 1) % (vectorCount - 1));
  }

  private async createAt({ pair, vector, priority }: IoQueue): Promise<void> {
    const { host } = this;
    pair.useShadow(host.shadow());
    await createPair((command) => host.admin(command), {
      id: pair.id,
      entries: pair.entries,
      submission: pair.sqMemory,
      completion: pair.cqMemory,
      pageBytes: host.pageBytes,
      vector: host.vectorCount > 0 ? vector : undefined,
      priority,
    });
  }

  private async deleteAt({ id }: QueuePair): Promise<void> {
    await deletePair((command) => this.host.admin(command), id);
  }
}

function markDeleted(queue: IoQueue): false {
  queue.isDeleted = true;
  return false;
}
