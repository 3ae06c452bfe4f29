/** Commands that a `latency` fault delays. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { BROADCAST_NSID } from "../../../nvme/spec/opcodes.js";
import { SQE_WORDS } from "../../../nvme/spec/queue-entries.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { type Command, PENDING } from "../host/command.js";
import { amount, u16, u32 } from "../medium/state-schema.js";
import type { CompletionPoster } from "./completion-poster.js";
import type { QueueSet } from "./queue-set.js";
import type { EmulatedSq } from "./queues.js";

/** The part of a migration state that holds delayed commands. */
export const delayedState = lazily(() =>
  z
    .array(
      z.strictObject({
        sqid: u16(),
        sqe: z.array(u32()).check(z.length(SQE_WORDS)),
        dueInMs: amount(),
      }),
    )
    .check(z.maxLength(1 << 16)),
);
export type DelayedState = z.output<ReturnType<typeof delayedState>>;

interface DelayedCommand {
  readonly sq: EmulatedSq;
  readonly sqe: Uint32Array;
  /** In the time of performance.now(). */
  readonly dueMs: number;
}

const cidOf = (sqe: Uint32Array): number => (sqe[0] ?? 0) >>> 16;

/** Executes delayed commands when they are due. */
export class DelayedCommands {
  private waiting: DelayedCommand[] = [];

  /** @param execute executes the current command. @returns a status, or PENDING */
  constructor(
    private readonly command: Command,
    private readonly queues: QueueSet,
    private readonly completions: CompletionPoster,
    private readonly execute: (sq: EmulatedSq) => number,
  ) {}

  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  /** Milliseconds until the first command is due; infinite if none waits. */
  get dueInMs(): number {
    if (this.waiting.length === 0) return Number.POSITIVE_INFINITY;
    const first = this.waiting.reduce((due, { dueMs }) => Math.min(due, dueMs), Number.POSITIVE_INFINITY);
    return Math.max(1, Math.ceil(first - performance.now()));
  }

  /** Delays the current command. */
  add(sq: EmulatedSq, latencyMs: number): void {
    this.waiting.push({ sq, sqe: this.command.sqe.slice(), dueMs: performance.now() + latencyMs });
  }

  /** Executes the commands that are due, in the order of their times. @returns how many */
  run(): number {
    const now = performance.now();
    const due = this.waiting.filter(({ dueMs }) => dueMs <= now).sort((a, b) => a.dueMs - b.dueMs);
    if (due.length === 0) return 0;
    this.waiting = this.waiting.filter(({ dueMs }) => dueMs > now);
    const { command } = this;
    for (const { sq, sqe } of due) {
      command.sqe.set(sqe);
      command.sqid = sq.id;
      command.dw0 = 0;
      command.dw1 = 0;
      const status = this.execute(sq);
      if (status !== PENDING) this.completions.completeOn(sq, command.cid, command.dw0, status);
    }
    return due.length;
  }

  /** Namespace of a waiting command; undefined if it isn't there. */
  nsidOf(sqid: number, cid: number): number | undefined {
    return this.waiting.find(({ sq, sqe }) => sq.id === sqid && cidOf(sqe) === cid)?.sqe[1];
  }

  /** Identifiers of the queue's waiting commands. @param nsid FFFFFFFFh: of any namespace */
  cidsOf(sqid: number, nsid: number): number[] {
    return this.waiting
      .filter(({ sq, sqe }) => sq.id === sqid && (nsid === BROADCAST_NSID || sqe[1] === nsid))
      .map(({ sqe }) => cidOf(sqe));
  }

  /** Drops a command without completing it. @returns whether it was waiting */
  abort(sqid: number, cid: number): boolean {
    const index = this.waiting.findIndex(({ sq, sqe }) => sq.id === sqid && cidOf(sqe) === cid);
    if (index < 0) return false;
    this.waiting.splice(index, 1);
    return true;
  }

  /** Aborts the commands of a submission queue that was deleted. */
  queueDeleted(sqid: number): void {
    this.abortAll(({ sq }) => sq.id === sqid, NvmeStatus.commandAbortedDueToSqDeletion);
  }

  /** Aborts the I/O commands of a host whose registration another one has preempted. */
  preempted(nsid: number): void {
    const status = NvmeStatus.commandAbortedDueToPreemptAndAbort;
    this.abortAll(({ sq, sqe }) => sq.id !== 0 && sqe[1] === nsid, status);
  }

  private abortAll(isGone: (command: DelayedCommand) => boolean, status: number): void {
    const gone = this.waiting.filter(isGone);
    this.waiting = this.waiting.filter((each) => !isGone(each));
    for (const { sq, sqe } of gone) this.completions.completeOn(sq, cidOf(sqe), 0, status);
  }

  clear(): void {
    this.waiting = [];
  }

  save(): DelayedState {
    const now = performance.now();
    return this.waiting.map(({ sq, sqe, dueMs }) => ({
      sqid: sq.id,
      sqe: [...sqe],
      dueInMs: Math.max(0, dueMs - now),
    }));
  }

  /** Takes over saved commands. The queues must be loaded already. */
  load(saved: DelayedState): void {
    const now = performance.now();
    this.waiting = saved.flatMap(({ sqid, sqe, dueInMs }) => {
      const sq = this.queues.sqs[sqid];
      return sq === undefined ? [] : [{ sq, sqe: Uint32Array.from(sqe), dueMs: now + dueInMs }];
    });
  }
}
