/** A submission queue and a completion queue, the controller's side. */

import { SQE_WORDS } from "../../../nvme/spec/queue-entries.js";
import type { MemorySpan } from "../../../vfio-user/server/emulated-device.js";
import { newSpan } from "../host/host-memory.js";

/** A doorbell as the controller sees it: a word in BAR0's page, or in the host's shadow buffer. */
interface Doorbell {
  words: Uint32Array;
  index: number;
}

/** A completion queue, the controller's side. */
export class EmulatedCq {
  tail = 0;
  phase = 1;
  /** The last valid value that the host wrote. */
  head = 0;
  readonly doorbell: Doorbell;
  readonly span: MemorySpan = newSpan();
  /** Whether its memory is there. */
  mapped = false;
  /** It isn't mapped in one piece in this process: entries are copied one by one, and `span` means nothing. */
  scattered = false;
  /** Completions posted since the last interrupt. */
  unsignalled = 0;
  /** When the oldest of them was posted; only for interrupt coalescing. */
  unsignalledSince = 0;
  /** Submission queues that complete here. */
  users = 0;
  /** The invalid doorbell value that was reported last. */
  badHead = -1;
  /** Completions that are posted later: DW0, DW1, DW2, DW3 without phase. */
  readonly overflow: [number, number, number, number][] = [];

  constructor(
    readonly id: number,
    readonly entries: number,
    readonly iova: number,
    readonly interrupts: boolean,
    readonly vector: number,
    doorbells: Uint32Array,
  ) {
    this.doorbell = { words: doorbells, index: 0 };
  }
}

/** A submission queue, the controller's side. */
export class EmulatedSq {
  head = 0;
  readonly doorbell: Doorbell;
  /** Whether its doorbell is a shadow, to which an event index belongs. */
  shadowed = false;
  readonly span: MemorySpan = newSpan();
  /** As those of {@link EmulatedCq}. */
  mapped = false;
  scattered = false;
  badTail = -1;
  /** Until then (performance.now()) entries are lost; 0: none is. */
  deafUntil = 0;

  constructor(
    readonly id: number,
    readonly entries: number,
    readonly iova: number,
    readonly cq: EmulatedCq,
    /** QPRIO, where arbitration is weighted. */
    readonly priority: number,
    /** By how much each command is delayed, in milliseconds. */
    readonly latencyMs: number,
    doorbells: Uint32Array,
    /** From one entry to the next, in 32-bit words. */
    readonly entryWords: number = SQE_WORDS,
  ) {
    this.doorbell = { words: doorbells, index: 0 };
  }

  get sizeBytes(): number {
    return this.entries * this.entryWords * 4;
  }
}
