/** Creates and deletes the I/O queue pairs of a controller, and creates them again after a reset. */
import { setTimeout } from "node:timers/promises";
import { checkInteger, checkKeys, lookUp } from "../../core/check.js";
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

/** What I/O queues need from the controller. */
export interface QueueHost {
  readonly name: string;
  readonly maxQueueEntries: number;
  /** I/O queue pairs whose doorbells lie in BAR 0. */
  readonly maxQueues: number;
  readonly pageBytes: number;
  /** Number of enabled interrupt vectors; 0 if the driver polls. */
  readonly vectorCount: number;
  readonly weighted: boolean;
  /** Priority of queues for which the program names none; undefined: 0. */
  readonly priority: keyof typeof QueuePriority | undefined;
  /** How long a new queue is left alone, in milliseconds. */
  readonly delayMs: number;
  /** Shadow doorbells, if they are in use. */
  shadow(): ShadowDoorbells | undefined;
  admin(command: NvmeCommand): Promise<NvmeCompletion>;
  makePair(id: number, entries: number, memory: RingBuffers | undefined): QueuePair;
}

/** Queue identifiers have 16 bits, and the admin queue has 0. */
const MOST_QUEUES = 65535;

/** One pair, and how to create it again after a reset. */
class IoQueue implements NvmeQueue {
  /** @internal */
  isDeleted = false;

  constructor(
    /** @internal */
    readonly owner: IoQueues,
    /** @internal */
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

/** The I/O queue pairs of a controller. */
export class IoQueues {
  private list: readonly IoQueue[] = [];
  private pairs: readonly QueuePair[] = [];
  private turn = 0;
  /** Most pairs that the controller allows; known after negotiate(). */
  private granted = 0;
  /** Why the controller allows none. */
  private refusal: NvmeError | undefined;
  /** Ids of queues that are being created or deleted. */
  private readonly inMaking = new Set<number>();

  constructor(
    private readonly host: QueueHost,
    private readonly defaultEntries: number,
  ) {}

  get all(): readonly NvmeQueue[] {
    return this.list;
  }

  /** Most pairs that the controller allows. */
  get limit(): number {
    return this.granted;
  }

  /** The queue pair for the next command: round robin. */
  next(): QueuePair | undefined {
    const { pairs } = this;
    if (pairs.length < 2) return pairs[0];
    if (++this.turn >= pairs.length) this.turn = 0;
    return pairs[this.turn];
  }

  /** @throws ArgumentError if the queue belongs to another controller, or was deleted */
  pairOf(queue: NvmeQueue): QueuePair {
    if (queue instanceof IoQueue && queue.owner === this && !queue.isDeleted) return queue.pair;
    throw new ArgumentError(
      "queue must be an open I/O queue of this controller: this one belongs to another controller or was deleted",
    );
  }

  each(act: (pair: QueuePair) => void): void {
    for (const { pair } of this.list) act(pair);
  }

  /** Takes the completions of all queues with this vector. */
  reap(vector: number): void {
    for (const queue of this.list) if (queue.vector === vector) queue.pair.reap();
  }

  /**
   * Requests queue pairs (Set Features, Number of Queues) before the first is created. None are allowed if that fails.
   * @throws TimeoutError, DeviceGoneError
   */
  async negotiate(wanted: number): Promise<void> {
    try {
      const pairs = await requestPairs((command) => this.host.admin(command), wanted);
      this.granted = Math.min(pairs, MOST_QUEUES, this.host.maxQueues);
    } catch (error) {
      // The command of a defective controller fails. Admin commands can still report why.
      if (!(error instanceof NvmeError)) throw error;
      this.granted = 0;
      this.refusal = error;
    }
  }

  /** @throws ArgumentError, UnsupportedError if the controller allows no more, NvmeError, ... */
  async create(options: QueueOptions = {}): Promise<NvmeQueue> {
    checkKeys("options", options, ["entries", "vector", "priority", "memory"]);
    const { host } = this;
    const { priority, memory } = options;
    if (memory !== undefined) checkKeys("memory", memory, ["submission", "completion", "lists"]);
    const asked = checkInteger("entries", options.entries ?? this.defaultEntries, 2, 65536);
    if (host.maxQueueEntries < 2) {
      throw new UnsupportedError(
        `${host.name} supports I/O queues of 1 entry only (CAP.MQES 0), and a queue needs 2: open it with queues 0 to use admin commands`,
      );
    }
    const entries = Math.min(asked, host.maxQueueEntries);
    if (priority !== undefined) {
      lookUp("priority", priority, QueuePriority);
      if (!host.weighted)
        throw new UnsupportedError(
          "priority needs weighted arbitration: open the controller with the option arbitration",
        );
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
   * Waits for the outstanding commands of a queue pair, and deletes it.
   * @throws ArgumentError, BusyError if it is being deleted already, NvmeError, TimeoutError, DeviceGoneError
   */
  async delete(queue: NvmeQueue): Promise<void> {
    const pair = this.pairOf(queue);
    if (this.inMaking.has(queue.id)) throw new BusyError(`queue ${queue.id} is being deleted`);
    this.inMaking.add(queue.id);
    try {
      // From now on no command without an explicit queue uses it.
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

  /** Deletes all queues at the controller. close() frees their memory. */
  async deleteAll(): Promise<void> {
    for (const { pair } of this.list) await this.deleteAt(pair);
  }

  /** Creates the same queues after a reset. @throws UnsupportedError if the controller now allows fewer, NvmeError, ... */
  async rebuild(): Promise<void> {
    if (this.list.length === 0) return;
    await this.negotiate(largestOf(this.list.map(({ id }) => id)));
    for (const queue of this.list) {
      if (queue.id > this.granted) {
        throw new UnsupportedError(
          `${this.host.name} allows only ${this.granted} I/O queue pairs after the reset`,
        );
      }
      await this.createAt(queue);
    }
  }

  /** Frees the memory of all queues, after the controller has stopped. */
  close(): void {
    for (const { pair } of this.list) pair.close();
    this.setList([]);
  }

  /** @param closing queue that next() skips */
  private setList(list: readonly IoQueue[], closing?: NvmeQueue): void {
    this.list = list;
    this.pairs = list.filter((queue) => queue !== closing).map(({ pair }) => pair);
    this.turn = 0;
  }

  /** The error if there is no queue for a command, or no new pair. */
  missing(): UnsupportedError {
    const { refusal, granted, host } = this;
    if (refusal !== undefined) {
      const why = `${host.name} allows no I/O queues: ${refusal.message}`;
      return new UnsupportedError(why, { cause: refusal });
    }
    return this.list.length === 0
      ? new UnsupportedError(`${host.name} was opened without I/O queues`)
      : new UnsupportedError(
          `${host.name} allows ${granted} I/O queue pairs: to have more, open it with a higher value of the option queues`,
        );
  }

  private freeId(): number {
    for (let id = 1; id <= this.granted; id++) {
      if (!this.inMaking.has(id) && !this.list.some((queue) => queue.id === id)) return id;
    }
    throw this.missing();
  }

  /** If there are several vectors, the admin queue has the first. */
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
      priority: priority ?? host.priority,
    });
    if (host.delayMs > 0) await setTimeout(host.delayMs);
  }

  private async deleteAt({ id }: QueuePair): Promise<void> {
    await deletePair((command) => this.host.admin(command), id);
  }
}

function markDeleted(queue: IoQueue): false {
  queue.isDeleted = true;
  return false;
}
