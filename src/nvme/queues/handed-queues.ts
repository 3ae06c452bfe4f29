/**
 * A submission queue and its completion queue in another thread. One thread at a time has them: the one that created them,
 * or the one that took them.
 */
import { checkInteger, checkObject, show } from "../../core/check.js";
import { ArgumentError, StateError } from "../../core/errors.js";
import { SQE_WORDS, WIDE_SQE_WORDS } from "../spec/queue-entries.js";
import { CompletionQueue, CQE_WORDS } from "./completion-queue.js";
import type { SubmissionQueue } from "./submission-queue.js";
import { makeSubmissionQueue } from "./wide-submission-queue.js";

/** First word of the shared state: which thread has the queues. The others: tail, head, phase. */
export const HandOver = {
  home: 0,
  /** Handed over, not taken yet. */
  sent: 1,
  taken: 2,
  /** Given back, not taken back yet. */
  returned: 3,
  /** The controller has stopped. */
  gone: 4,
} as const;

/** Message to a worker: plain data, whose arrays are in shared memory. */
export interface HandedOver {
  /** Id of the submission queue. */
  readonly sqid: number;
  /** Id of the completion queue. */
  readonly cqid: number;
  /** The submission queue's ring. */
  readonly sqWords: Uint32Array;
  /** From one entry of the submission queue to the next, in words. */
  readonly sqEntryWords: number;
  /** The completion queue's ring. */
  readonly cqWords: Uint32Array;
  /** The doorbell registers. */
  readonly doorbells: Uint32Array;
  /** Index of the submission queue's doorbell in `doorbells`. */
  readonly sqDoorbell: number;
  /** Index of the completion queue's doorbell in `doorbells`. */
  readonly cqDoorbell: number;
  /** Which thread has the queues, and the positions in them. */
  readonly state: Int32Array;
}

/** The queues in the thread that took them. It needs shared buffers for data (`buffer.share()`). */
export class HandedQueues {
  /** The submission queue. */
  readonly submission: SubmissionQueue;
  /** The completion queue. */
  readonly completion: CompletionQueue;
  private readonly state: Int32Array;

  private constructor(handed: HandedOver) {
    const { sqid, cqid, sqWords, sqEntryWords, cqWords, doorbells, sqDoorbell, cqDoorbell, state } = handed;
    this.state = state;
    const entries = sqWords.length / sqEntryWords;
    this.submission = makeSubmissionQueue(sqEntryWords, sqid, entries, sqWords, doorbells, sqDoorbell);
    this.completion = new CompletionQueue(cqid, cqWords.length / CQE_WORDS, cqWords, doorbells, cqDoorbell);
    this.submission.moveTo(state[1] ?? 0);
    this.completion.moveTo(state[2] ?? 0, state[3] ?? 1);
  }

  /** Takes the queues in the worker. @param handed from `handOver()` @throws ArgumentError, StateError if they were taken, or are gone */
  static take(handed: HandedOver): HandedQueues {
    checkHandedOver(handed);
    const before = Atomics.compareExchange(handed.state, 0, HandOver.sent, HandOver.taken);
    if (before !== HandOver.sent) {
      throw new StateError(
        `the queues ${handed.sqid} and ${handed.cqid} can't be taken (state ${before}): hand them over again`,
      );
    }
    return new HandedQueues(handed);
  }

  /** Whether this thread still has the queues; false after the controller has stopped. Check it while waiting. */
  get isMine(): boolean {
    return Atomics.load(this.state, 0) === HandOver.taken;
  }

  /** Gives the queues back to their owner. No command may be outstanding. Don't use this object afterwards. @throws StateError */
  giveBack(): void {
    const { head, phase } = this.completion.position;
    this.submission.ring();
    this.completion.ring();
    this.state[1] = this.submission.position;
    this.state[2] = head;
    this.state[3] = phase;
    if (Atomics.compareExchange(this.state, 0, HandOver.taken, HandOver.returned) !== HandOver.taken) {
      throw new StateError("this thread doesn't have these queues any more");
    }
  }
}

function checkHandedOver(handed: HandedOver): void {
  checkObject("handed", handed);
  const { sqWords, sqEntryWords, cqWords, doorbells, sqDoorbell, cqDoorbell, state } = handed;
  if (sqEntryWords !== SQE_WORDS && sqEntryWords !== WIDE_SQE_WORDS)
    throw new ArgumentError(`handed must come from handOver(): sqEntryWords is ${show(sqEntryWords)}`);
  for (const words of [sqWords, cqWords, doorbells]) {
    if (!(words instanceof Uint32Array))
      throw new ArgumentError(`handed must come from handOver(): a ring or its doorbells are ${show(words)}`);
  }
  if (!(state instanceof Int32Array) || state.length < 4)
    throw new ArgumentError(`handed must come from handOver(): its state is ${show(state)}`);
  checkInteger("sqDoorbell", sqDoorbell, 0, doorbells.length - 1);
  checkInteger("cqDoorbell", cqDoorbell, 0, doorbells.length - 1);
}
