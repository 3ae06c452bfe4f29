/** Submission and completion queues as rings in memory, without a controller. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import { CompletionQueue, CQE_WORDS } from "../../../../src/nvme/queues/completion-queue.js";
import { SQE_WORDS, SubmissionQueue } from "../../../../src/nvme/queues/submission-queue.js";
import { makeSubmissionQueue } from "../../../../src/nvme/queues/wide-submission-queue.js";

/** Index of the queue's doorbell; no store may hit its neighbours. */
const DOORBELL = 5;
const UNTOUCHED = 0xdead_beef;

function newDoorbells(): Uint32Array {
  return new Uint32Array(16).fill(UNTOUCHED);
}

function neighboursOf(doorbells: Uint32Array): number[] {
  return [...doorbells].filter((_, index) => index !== DOORBELL);
}

describe("a submission queue", () => {
  function newQueue(entries: number): { queue: SubmissionQueue; doorbells: Uint32Array } {
    const doorbells = newDoorbells();
    const queue = new SubmissionQueue(1, entries, new Uint32Array(entries * SQE_WORDS), doorbells, DOORBELL);
    return { queue, doorbells };
  }

  test("fills entries of 64 bytes in order, and begins again after the last", () => {
    const { queue } = newQueue(3);
    const slots = Array.from({ length: 7 }, () => {
      const { slot } = queue;
      queue.post();
      return slot;
    });
    expect(slots).toEqual([0, 16, 32, 0, 16, 32, 0]);
  });

  test("has entries 128 bytes apart where the controller wants it", () => {
    const ring = (words: number, entryWords: number): SubmissionQueue =>
      makeSubmissionQueue(entryWords, 1, 3, new Uint32Array(words), newDoorbells(), DOORBELL);
    const queue = ring(96, 32);
    expect([queue.entryWords, ring(48, 16).entryWords]).toEqual([32, 16]);
    queue.post();
    expect(queue.slot).toBe(32);
    for (const wrong of [() => ring(95, 32), () => ring(47, 16)]) expect(wrong).toThrow(ArgumentError);
  });

  test("doesn't announce a filled slot before it is posted", () => {
    const { queue, doorbells } = newQueue(4);
    queue.words[queue.slot] = 0x1234;
    expect(queue.slot).toBe(0);
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(UNTOUCHED);
  });

  test("rings with one store for many posts, and not at all without any", () => {
    const { queue, doorbells } = newQueue(8);
    for (let i = 0; i < 5; i++) queue.post();
    expect(doorbells[DOORBELL]).toBe(UNTOUCHED);
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(5);
    doorbells[DOORBELL] = UNTOUCHED;
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(UNTOUCHED);
    for (let i = 0; i < 4; i++) queue.post();
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(1);
    expect(neighboursOf(doorbells).every((word) => word === UNTOUCHED)).toBe(true);
  });

  test("wraps at every second post if it has the smallest size", () => {
    const { queue, doorbells } = newQueue(2);
    const seen = Array.from({ length: 4 }, () => {
      queue.post();
      queue.ring();
      return doorbells[DOORBELL];
    });
    expect(seen).toEqual([1, 0, 1, 0]);
  });
});

/** The controller's side of a completion queue. */
class Producer {
  private tail = 0;
  private phase = 1;

  constructor(
    private readonly words: Uint32Array,
    private readonly entries: number,
  ) {}

  /** Posts a completion for a command id, from which its status and other fields follow. */
  post(cid: number): void {
    const at = this.tail * CQE_WORDS;
    this.words[at] = cid * 3;
    this.words[at + 1] = cid * 5;
    this.words[at + 2] = 0xffff_ffff;
    // Writes the phase bit with the last word, after all others.
    this.words[at + 3] = (((cid & 0x7fff) << 17) | (this.phase << 16) | (cid & 0xffff)) >>> 0;
    this.tail++;
    if (this.tail === this.entries) {
      this.tail = 0;
      this.phase ^= 1;
    }
  }
}

describe("a completion queue", () => {
  function newQueue(entries: number) {
    const words = new Uint32Array(entries * CQE_WORDS);
    const doorbells = newDoorbells();
    const queue = new CompletionQueue(1, entries, words, doorbells, DOORBELL);
    return { queue, doorbells, words, producer: new Producer(words, entries) };
  }

  test("finds no completion in fresh memory", () => {
    const { queue } = newQueue(4);
    expect(queue.peek()).toBe(-1);
  });

  test("peeks without taking, and moves on by taking", () => {
    const { queue, producer } = newQueue(4);
    producer.post(7);
    expect(queue.peek()).toBe(0);
    expect(queue.peek()).toBe(0);
    queue.take();
    expect(queue.peek()).toBe(-1);
    producer.post(8);
    expect(queue.peek()).toBe(4);
  });

  test("doesn't take entries of the last pass for new ones", () => {
    const { queue, producer } = newQueue(3);
    const taken: number[] = [];
    for (let cid = 0; cid < 10; cid++) {
      producer.post(cid);
      for (let at = queue.peek(); at >= 0; at = queue.peek()) {
        taken.push((queue.words[at + 3] ?? 0) & 0xffff);
        queue.take();
      }
    }
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("rings with one store for all that was taken, and not at all without any", () => {
    const { queue, producer, doorbells } = newQueue(4);
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(UNTOUCHED);
    for (let cid = 0; cid < 3; cid++) producer.post(cid);
    for (let i = 0; i < 3; i++) queue.take();
    expect(doorbells[DOORBELL]).toBe(UNTOUCHED);
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(3);
    producer.post(3);
    queue.take();
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(0);
    doorbells[DOORBELL] = UNTOUCHED;
    queue.ring();
    expect(doorbells[DOORBELL]).toBe(UNTOUCHED);
    expect(neighboursOf(doorbells).every((word) => word === UNTOUCHED)).toBe(true);
  });

  test("sees every completion once and in order, however posting and taking alternate", () => {
    const steps = fc.array(fc.tuple(fc.nat({ max: 9 }), fc.nat({ max: 9 })), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 9 }), steps, (entries, alternation) => {
        const { queue, producer, doorbells } = newQueue(entries);
        let posted = 0;
        let taken = 0;
        for (const [posts, takes] of alternation) {
          // The controller never has more than entries - 1 that the host hasn't taken.
          for (let i = 0; i < posts && posted - taken < entries - 1; i++) producer.post(posted++ & 0x7fff);
          for (let i = 0; i < takes; i++) {
            const at = queue.peek();
            if (at < 0) {
              expect(taken).toBe(posted);
              break;
            }
            expect(at).toBe((taken % entries) * CQE_WORDS);
            expect((queue.words[at + 3] ?? 0) & 0xffff).toBe(taken & 0x7fff);
            queue.take();
            taken++;
          }
          queue.ring();
          if (taken > 0) expect(doorbells[DOORBELL]).toBe(taken % entries);
        }
      }),
      { numRuns: 300 },
    );
  });
});
