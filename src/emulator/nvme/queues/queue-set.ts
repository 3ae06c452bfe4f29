/** The queues of a controller: the commands that create and delete them, shadow doorbells, and saved state. */
import * as z from "zod/mini";
import { ArgumentError } from "../../../core/errors.js";
import { lazily } from "../../../core/lazy.js";
import { append } from "../../../core/lists.js";
import { integer } from "../../../core/options.js";
import { completionDoorbell, submissionDoorbell } from "../../../nvme/spec/doorbells.js";
import { CQE_BYTES, IOCQES, IOSQES, SQE_BYTES } from "../../../nvme/spec/queue-entries.js";
import { QueueFlag } from "../../../nvme/spec/queues.js";
import { ControllerConfig } from "../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { HostMemory } from "../host/host-memory.js";
import type { Oddities } from "../host/oddities.js";
import { count, u1, u16, u32 } from "../medium/state-schema.js";
import { EmulatedCq, EmulatedSq } from "./queues.js";
import { SHADOW_BYTES, ShadowPage } from "./shadow-page.js";

/** The part of a migration state that holds the queues. */
export const queuesState = lazily(() =>
  z.strictObject({
    cqs: z
      .array(
        z.strictObject({
          id: u16(),
          entries: integer(2, 65536),
          iova: count().check(z.multipleOf(4096)),
          interrupts: z.boolean(),
          vector: u16(),
          tail: u16(),
          phase: u1(),
          head: u16(),
          badHead: integer(-1, 0xffff_ffff),
          unsignalled: count(),
          doorbell: u32(),
          overflow: z.array(z.tuple([u32(), u32(), u32(), u32()])).check(z.maxLength(1 << 16)),
        }),
      )
      .check(z.maxLength(1024)),
    sqs: z
      .array(
        z.strictObject({
          id: u16(),
          entries: integer(2, 65536),
          iova: count().check(z.multipleOf(4096)),
          cq: u16(),
          /** QPRIO. */
          priority: integer(0, 3),
          head: u16(),
          badTail: integer(-1, 0xffff_ffff),
          doorbell: u32(),
        }),
      )
      .check(z.maxLength(1024)),
    shadow: z.nullable(z.strictObject({ doorbells: count(), eventIndexes: count() })),
  }),
);
export type QueuesState = z.output<ReturnType<typeof queuesState>>;

/** AQA has 12 bits for each. */
const ADMIN_ENTRIES = 4096;
const PHYSICALLY_CONTIGUOUS = 1;
const INTERRUPTS_ENABLED = 2;

interface QueueLimits {
  readonly queuePairs: number;
  readonly queueEntries: number;
  /** Interrupt vectors; 1 where there is only the pin. */
  readonly vectors: number;
  /** Words from one doorbell to the next. */
  readonly strideWords: number;
  readonly odd: Pick<
    Oddities,
    "adminEntriesUnit" | "entryBytes" | "refusesUrgent" | "queueDelayMs" | "shallowEntries" | "shallowDelayMs"
  >;
}

/** The queues of a controller: created and deleted by command, and found again in memory after every mapping. */
export class QueueSet {
  /** By id; the admin queues are 0. */
  readonly sqs: (EmulatedSq | undefined)[] = [];
  readonly cqs: (EmulatedCq | undefined)[] = [];
  /** Submission queues in the order they are served. */
  active: EmulatedSq[] = [];
  /** Of the memory, when the queues were last found in it. */
  private generation = -1;
  private shadow: { readonly doorbells: number; readonly eventIndexes: number } | undefined;
  private readonly shadowDoorbells: ShadowPage;
  private readonly eventIndexes: ShadowPage;
  /** Whether the shadow doorbells are a copy, which has to be brought up to date. */
  private readsShadows = false;

  constructor(
    private readonly limits: QueueLimits,
    private readonly memory: HostMemory,
    /** BAR0's doorbell page. */
    private readonly doorbells: Uint32Array,
    private readonly command: Command,
  ) {
    this.shadowDoorbells = new ShadowPage(memory);
    this.eventIndexes = new ShadowPage(memory);
  }

  /** Removes all queues; doorbells begin at 0 again. */
  clear(): void {
    this.sqs.length = 0;
    this.cqs.length = 0;
    this.active = [];
    this.shadow = undefined;
    this.readsShadows = false;
    for (let i = 0; i < this.doorbells.length; i++) this.doorbells[i] = 0;
  }

  get ioQueuesExist(): boolean {
    return this.sqs.length > 1 || this.cqs.length > 1;
  }

  /** Whether a queue has its doorbell in this word. */
  hasDoorbell(word: number): boolean {
    const { strideWords } = this.limits;
    if (word % strideWords !== 0) return false;
    const number = word / strideWords;
    const id = Math.floor(number / 2);
    return (number % 2 === 0 ? this.sqs[id] : this.cqs[id]) !== undefined;
  }

  /** The admin queues, from AQA, ASQ and ACQ. @returns whether both are in memory, where they may be */
  createAdmin(sq: number, sqEntries: number, cq: number, cqEntries: number): boolean {
    const { memory, limits } = this;
    if (sqEntries % limits.odd.adminEntriesUnit !== 0) return false;
    if (!memory.allowsQueue(sq, sqEntries * SQE_BYTES, "SQS")) return false;
    if (!memory.allowsQueue(cq, cqEntries * CQE_BYTES, "CQS")) return false;
    const completion = new EmulatedCq(0, cqEntries, cq, true, 0, this.doorbells);
    const submission = new EmulatedSq(0, sqEntries, sq, completion, 0, 0, this.doorbells);
    completion.users = 1;
    this.cqs[0] = completion;
    this.sqs[0] = submission;
    this.remap();
    return completion.mapped && submission.mapped;
  }

  /**
   * Finds all queues anew if the client has changed its mappings, and reads shadow doorbells that aren't mapped.
   * @returns false if these are gone
   */
  followMemory(): boolean {
    if (this.memory.generation !== this.generation) this.remap();
    return !this.readsShadows || this.shadowDoorbells.pull();
  }

  /** Finds all queues in memory. */
  private remap(): void {
    this.generation = this.memory.generation;
    for (const cq of this.cqs) if (cq !== undefined) this.locate(cq, cq.entries * CQE_BYTES, true);
    for (const sq of this.sqs) if (sq !== undefined) this.locate(sq, sq.sizeBytes, false);
    this.active = this.sqs.filter((sq) => sq !== undefined);
    this.placeDoorbells();
  }

  /** Finds a queue in memory. @returns whether all of it is there */
  private locate(queue: EmulatedCq | EmulatedSq, lengthBytes: number, write: boolean): boolean {
    const { memory } = this;
    const isMapped = memory.find(queue.iova, lengthBytes, write, queue.span);
    queue.mapped = isMapped || memory.canCopy(queue.iova, lengthBytes, write);
    queue.scattered = queue.mapped && !isMapped;
    return queue.mapped;
  }

  createCq(config: number, pageBytes: number): number {
    const { command, limits } = this;
    const id = command.cdw(10) & 0xffff;
    const entries = (command.cdw(10) >>> 16) + 1;
    const flags = command.cdw(11) & 0xffff;
    const vector = command.cdw(11) >>> 16;
    if (id === 0 || id > limits.queuePairs || this.cqs[id] !== undefined) {
      return NvmeStatus.invalidQueueIdentifier;
    }
    if (entries < 2 || entries > limits.queueEntries) return NvmeStatus.invalidQueueSize;
    if ((flags & PHYSICALLY_CONTIGUOUS) === 0) return NvmeStatus.invalidField;
    if (((config >>> ControllerConfig.IOCQES_SHIFT) & 0xf) !== IOCQES) return NvmeStatus.invalidQueueSize;
    if ((flags & INTERRUPTS_ENABLED) !== 0 && vector >= limits.vectors)
      return NvmeStatus.invalidInterruptVector;
    const iova = this.address;
    if (iova % pageBytes !== 0) return NvmeStatus.prpOffsetInvalid;
    const cq = new EmulatedCq(id, entries, iova, (flags & INTERRUPTS_ENABLED) !== 0, vector, this.doorbells);
    if (!this.memory.allowsQueue(iova, entries * CQE_BYTES, "CQS")) {
      return NvmeStatus.invalidUseOfControllerMemoryBuffer;
    }
    if (!this.locate(cq, entries * CQE_BYTES, true)) return NvmeStatus.dataTransferError;
    this.cqs[id] = cq;
    this.doorbells[this.doorbellOf("completion", id)] = 0;
    this.remap();
    return NvmeStatus.success;
  }

  createSq(config: number, pageBytes: number): number {
    const { command, limits } = this;
    const id = command.cdw(10) & 0xffff;
    const entries = (command.cdw(10) >>> 16) + 1;
    const flags = command.cdw(11) & 0xffff;
    const cqid = command.cdw(11) >>> 16;
    if (id === 0 || id > limits.queuePairs || this.sqs[id] !== undefined) {
      return NvmeStatus.invalidQueueIdentifier;
    }
    if (cqid === 0 || cqid > limits.queuePairs) return NvmeStatus.invalidQueueIdentifier;
    const cq = this.cqs[cqid];
    if (cq === undefined) return NvmeStatus.completionQueueInvalid;
    if (entries < 2 || entries > limits.queueEntries) return NvmeStatus.invalidQueueSize;
    if ((flags & PHYSICALLY_CONTIGUOUS) === 0) return NvmeStatus.invalidField;
    if (((config >>> ControllerConfig.IOSQES_SHIFT) & 0xf) !== IOSQES) return NvmeStatus.invalidQueueSize;
    const iova = this.address;
    if (iova % pageBytes !== 0) return NvmeStatus.prpOffsetInvalid;
    const priority = (flags >>> QueueFlag.PRIORITY_SHIFT) & 3;
    if (priority === 0 && limits.odd.refusesUrgent) return NvmeStatus.invalidField;
    const sq = this.ioSq(id, entries, iova, cq, priority);
    const { queueDelayMs } = limits.odd;
    if (queueDelayMs > 0) sq.deafUntil = performance.now() + queueDelayMs;
    if (!this.memory.allowsQueue(iova, sq.sizeBytes, "SQS")) {
      return NvmeStatus.invalidUseOfControllerMemoryBuffer;
    }
    if (!this.locate(sq, sq.sizeBytes, false)) return NvmeStatus.dataTransferError;
    this.sqs[id] = sq;
    cq.users++;
    this.doorbells[this.doorbellOf("submission", id)] = 0;
    this.remap();
    return NvmeStatus.success;
  }

  /** Whether commands of this submission queue lie in the controller memory buffer. */
  isInCmb(sqid: number): boolean {
    const sq = this.sqs[sqid];
    return sq?.scattered === false && this.memory.isCmb(sq.span.bytes);
  }

  deleteSq(): number {
    const id = this.command.cdw(10) & 0xffff;
    const sq = this.sqs[id];
    if (id === 0 || sq === undefined) return NvmeStatus.invalidQueueIdentifier;
    this.sqs[id] = undefined;
    sq.cq.users--;
    this.forgetTail(this.sqs);
    this.remap();
    return NvmeStatus.success;
  }

  deleteCq(): number {
    const id = this.command.cdw(10) & 0xffff;
    const cq = this.cqs[id];
    if (id === 0 || cq === undefined) return NvmeStatus.invalidQueueIdentifier;
    if (cq.users > 0) return NvmeStatus.invalidQueueDeletion;
    this.cqs[id] = undefined;
    this.forgetTail(this.cqs);
    this.remap();
    return NvmeStatus.success;
  }

  /** Doorbell Buffer Config: from now on the host writes its doorbells there. */
  setShadow(pageBytes: number): number {
    const { command } = this;
    const doorbells = this.address;
    const eventIndexes = command.cdw(9) * 2 ** 32 + command.cdw(8);
    if (doorbells % pageBytes !== 0 || eventIndexes % pageBytes !== 0) return NvmeStatus.invalidField;
    if (!this.shadowDoorbells.locate(doorbells) || !this.eventIndexes.locate(eventIndexes)) {
      // The buffers before, if there are any, stay in use.
      this.placeDoorbells();
      return NvmeStatus.dataTransferError;
    }
    this.shadow = { doorbells, eventIndexes };
    this.placeDoorbells();
    for (const sq of this.sqs) if (sq !== undefined && sq.id !== 0) this.startShadow(sq);
    return NvmeStatus.success;
  }

  save(): QueuesState {
    return {
      cqs: this.cqs.flatMap((cq) => {
        if (cq === undefined) return [];
        const { id, entries, iova, interrupts, vector, tail, phase, head, badHead, unsignalled } = cq;
        const doorbell = this.doorbells[this.doorbellOf("completion", id)] ?? 0;
        const overflow = [...cq.overflow];
        const which = { id, entries, iova, interrupts, vector };
        return [{ ...which, tail, phase, head, badHead, unsignalled, doorbell, overflow }];
      }),
      sqs: this.sqs.flatMap((sq) => {
        if (sq === undefined) return [];
        const { id, entries, iova, cq, priority, head, badTail } = sq;
        const doorbell = this.doorbells[this.doorbellOf("submission", id)] ?? 0;
        return [{ id, entries, iova, cq: cq.id, priority, head, badTail, doorbell }];
      }),
      shadow: this.shadow ?? null,
    };
  }

  /** @throws ArgumentError if a controller can't have these queues */
  check({ cqs, sqs, shadow }: QueuesState): void {
    const { queuePairs, queueEntries, vectors } = this.limits;
    const most = (id: number): number => (id === 0 ? ADMIN_ENTRIES : queueEntries);
    const known = new Set(cqs.map(({ id }) => id));
    const right =
      known.size === cqs.length &&
      new Set(sqs.map(({ id }) => id)).size === sqs.length &&
      cqs.every(
        ({ id, entries, tail, head, vector }) =>
          id <= queuePairs && entries <= most(id) && tail < entries && head < entries && vector < vectors,
      ) &&
      sqs.every(
        ({ id, entries, head, cq }) =>
          id <= queuePairs &&
          entries <= most(id) &&
          head < entries &&
          known.has(cq) &&
          (id === 0) === (cq === 0),
      ) &&
      (shadow === null || (shadow.doorbells % 4096 === 0 && shadow.eventIndexes % 4096 === 0));
    if (!right) throw new ArgumentError("invalid saved state: queues with impossible values");
  }

  /** Loads queues. @param state that check() accepted */
  load({ cqs, sqs, shadow }: QueuesState): void {
    const { doorbells } = this;
    this.clear();
    for (const saved of cqs) {
      const { id, entries, iova, interrupts, vector, tail, phase, head, badHead, unsignalled } = saved;
      const cq = new EmulatedCq(id, entries, iova, interrupts, vector, doorbells);
      Object.assign(cq, { tail, phase, head, badHead, unsignalled });
      append(cq.overflow, saved.overflow);
      this.cqs[id] = cq;
      doorbells[this.doorbellOf("completion", id)] = saved.doorbell;
    }
    for (const { id, entries, iova, cq, priority, head, badTail, doorbell } of sqs) {
      const queue = this.cqs[cq];
      if (queue === undefined) continue;
      const sq =
        id === 0
          ? new EmulatedSq(0, entries, iova, queue, priority, 0, doorbells)
          : this.ioSq(id, entries, iova, queue, priority);
      Object.assign(sq, { head, badTail });
      queue.users++;
      this.sqs[id] = sq;
      doorbells[this.doorbellOf("submission", id)] = doorbell;
    }
    this.shadow = shadow ?? undefined;
    this.remap();
  }

  /** Writes the doorbell values from which on hosts with shadow doorbells have to ring the real ones. */
  publishEventIndexes(): void {
    for (const { id, shadowed, doorbell } of this.active) {
      if (!shadowed) continue;
      this.eventIndexes.set(this.doorbellOf("submission", id), doorbell.words[doorbell.index] ?? 0);
    }
  }

  private ioSq(id: number, entries: number, iova: number, cq: EmulatedCq, priority: number): EmulatedSq {
    const { shallowEntries, shallowDelayMs, entryBytes } = this.limits.odd;
    const latencyMs = entries < shallowEntries ? shallowDelayMs : 0;
    return new EmulatedSq(id, entries, iova, cq, priority, latencyMs, this.doorbells, entryBytes / 4);
  }

  private get address(): number {
    return this.command.cdw(7) * 2 ** 32 + this.command.cdw(6);
  }

  /** Copies the doorbell values of a queue that existed before the buffer. */
  private startShadow(sq: EmulatedSq): void {
    const { doorbells, shadowDoorbells } = this;
    const indexes: number[] = [];
    if (this.hasShadow(sq.id)) indexes.push(this.doorbellOf("submission", sq.id));
    if (this.hasShadow(sq.cq.id)) indexes.push(this.doorbellOf("completion", sq.cq.id));
    for (const index of indexes) shadowDoorbells.set(index, doorbells[index] ?? 0);
  }

  /** Whether doorbells of this queue are shadows: the buffers are one page, and the admin queues never have any. */
  private hasShadow(id: number): boolean {
    return this.shadow !== undefined && id !== 0 && 4 * this.doorbellOf("submission", id + 1) <= SHADOW_BYTES;
  }

  private placeDoorbells(): void {
    const { shadow, doorbells, shadowDoorbells, eventIndexes } = this;
    const usable =
      shadow !== undefined &&
      shadowDoorbells.locate(shadow.doorbells) &&
      eventIndexes.locate(shadow.eventIndexes);
    this.readsShadows = usable && shadowDoorbells.isCopy;
    const isShadowed = (id: number): boolean => usable && this.hasShadow(id);
    for (const cq of this.cqs) {
      if (cq === undefined) continue;
      const shadowed = isShadowed(cq.id);
      cq.doorbell.words = shadowed ? shadowDoorbells.words : doorbells;
      cq.doorbell.index = (shadowed ? shadowDoorbells.first : 0) + this.doorbellOf("completion", cq.id);
    }
    for (const sq of this.sqs) {
      if (sq === undefined) continue;
      const shadowed = isShadowed(sq.id);
      // Without its buffer, the doorbells of a queue are unknown. That is as fatal as a queue that is not in memory.
      if (this.hasShadow(sq.id) && !usable) sq.mapped = false;
      sq.doorbell.words = shadowed ? shadowDoorbells.words : doorbells;
      sq.doorbell.index = (shadowed ? shadowDoorbells.first : 0) + this.doorbellOf("submission", sq.id);
      sq.shadowed = shadowed;
    }
  }

  private doorbellOf(queue: "submission" | "completion", id: number): number {
    const { strideWords } = this.limits;
    return queue === "submission" ? submissionDoorbell(id, strideWords) : completionDoorbell(id, strideWords);
  }

  private forgetTail(queues: unknown[]): void {
    while (queues.length > 1 && queues[queues.length - 1] === undefined) queues.length--;
  }
}
