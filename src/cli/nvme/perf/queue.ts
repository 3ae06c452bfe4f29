/**
 * One queue pair of `iova nvme perf`, on the ring layer. Each completion submits the next command, so that `depth` commands
 * are outstanding. The completions that one look finds share a clock reading and a doorbell write. Commands allocate nothing.
 */

import { NvmeError, NvmeProtocolError } from "../../../nvme/command/error.js";
import { CompletionQueue } from "../../../nvme/queues/completion-queue.js";
import { writeIoEntry } from "../../../nvme/queues/submission-entry.js";
import { SubmissionQueue } from "../../../nvme/queues/submission-queue.js";
import { IoOpcode } from "../../../nvme/spec/opcodes.js";
import { LatencyHistogram, wholeNs } from "./histogram.js";
import type { PerfShape } from "./shape.js";
import type { WrongBlocks } from "./wrong-blocks.js";

export const workloads = ["read", "randread", "write", "randwrite", "rw", "randrw"] as const;
export type Workload = (typeof workloads)[number];

/** Whether a workload writes nothing. */
export function isReading(workload: Workload): boolean {
  return workload.endsWith("read");
}

/** The work, which is the same for every queue. */
export interface PerfPlan {
  readonly workload: Workload;
  readonly depth: number;
  readonly nsid: number;
  /** Blocks of each command, or of the smallest. */
  readonly blocks: number;
  /** Bytes of each command that are transferred. */
  readonly ioBytes: number;
  /** How many commands' blocks fit on the namespace, one after the other. */
  readonly places: number;
  readonly warmUpMs: number;
  readonly runMs: number;
  readonly timeoutMs: number;
  /** Intervals of the measurement whose commands are counted. */
  readonly samples: number;
  /** The warm-up lasts until the main thread ends it, and for warmUpMs at least. */
  readonly held: boolean;
  /** What makes the commands different from plain reads or writes of one size. */
  readonly shape: PerfShape | undefined;
}

/** Words of {@link PerfQueueSetup.shared}. */
export const Shared = {
  /** How far the run is: an index of `phases`. */
  phase: 0,
  /** 1: a warm-up that is held may end. */
  released: 1,
  /** Commands done since the start, modulo 2^32. */
  ios: 2,
  /** Commands done in each interval of the measurement. */
  samples: 3,
} as const;

/** Data and metadata of the command slots, for those who look at it. */
export interface PerfArea {
  readonly data: Uint8Array;
  readonly slotBytes: number;
  readonly metadata: Uint8Array | undefined;
  readonly metadataSlotBytes: number;
  /** Address of each slot's metadata: two words. */
  readonly pointers: Uint32Array;
}

/** A queue pair in a form that can be sent to a thread: its memory, and the addresses of its data. */
export interface PerfQueueSetup {
  readonly id: number;
  /** How many queues the controller has; this one is the id-th. */
  readonly of: number;
  readonly entries: number;
  readonly sqWords: Uint32Array;
  readonly cqWords: Uint32Array;
  readonly doorbells: Uint32Array;
  readonly sqDoorbell: number;
  readonly cqDoorbell: number;
  /** Data pointers, PRPs or an SGL descriptor, of each command slot: four words; those of further sizes follow. */
  readonly prps: Uint32Array;
  readonly area: PerfArea;
  /** What the run tells the main thread meanwhile. */
  readonly shared: Uint32Array;
  /** Without interrupts. */
  readonly polled: boolean;
  readonly plan: PerfPlan;
}

const NS_PER_MS = 1e6;
const TWO_32 = 2 ** 32;

export class PerfQueue {
  protected readonly sq: SubmissionQueue;
  protected readonly cq: CompletionQueue;
  readonly latencies = new LatencyHistogram();
  /**
   * Time of the last completion, by performance.now(). An array of one, because V8 allocates an object for each such number
   * that functions pass to each other.
   */
  protected readonly now = new Float64Array(1);
  /** Submission time of each slot's command, in milliseconds. */
  protected readonly since: Float64Array;
  protected readonly isOutstanding: Uint8Array;
  protected readonly isRandom: boolean;
  private readonly opcode: number;
  protected place = 0;
  /** State of xorshift32: never 0. */
  private random: number;
  /** Completions taken since the last write of the completion doorbell. */
  private taken = 0;
  private readonly ringAfter: number;

  constructor(readonly setup: PerfQueueSetup) {
    const { id, entries, sqWords, cqWords, doorbells, sqDoorbell, cqDoorbell, plan } = setup;
    this.sq = new SubmissionQueue(id, entries, sqWords, doorbells, sqDoorbell);
    this.cq = new CompletionQueue(id, entries, cqWords, doorbells, cqDoorbell);
    // A doorbell is a store to the device, so a polled queue returns many entries at once, long before the controller runs out
    // of them. With interrupts entries are returned at once: the next interrupt may depend on it.
    this.ringAfter = setup.polled ? Math.min(entries >> 2, entries - 1 - plan.depth) : 0;
    this.since = new Float64Array(plan.depth);
    this.isOutstanding = new Uint8Array(plan.depth);
    this.isRandom = plan.workload.startsWith("rand");
    this.opcode = plan.workload.endsWith("write") ? IoOpcode.write : IoOpcode.read;
    // Each queue starts at another place.
    this.random = (0x9e37_79b9 * id) | 1;
    this.place = Math.floor((plan.places / 64) * (id - 1)) % plan.places;
  }

  /** Number of outstanding commands. */
  get outstanding(): number {
    return this.isOutstanding.reduce((sum, one) => sum + one, 0);
  }

  /** Time of the last completion, or of the start, by performance.now(). */
  get lastCompletion(): number {
    return this.now[0] ?? 0;
  }

  /** Histograms of reads and writes, if both are counted. */
  get kinds(): readonly LatencyHistogram[] {
    return [];
  }

  /** Bytes moved since the measurement began; undefined if all commands are of one size. */
  get bytes(): number | undefined {
    return undefined;
  }

  /** Blocks that weren't what was written; undefined if data isn't verified. */
  get wrong(): WrongBlocks | undefined {
    return undefined;
  }

  /** Whether a pass over the whole range, before or after the run, isn't done. */
  get isInPass(): boolean {
    return false;
  }

  /** Begins the pass after the run. @returns false if there is none */
  beginCheck(): boolean {
    return false;
  }

  /** Forgets what was counted. */
  reset(): void {
    this.latencies.reset();
  }

  /** Submits the first commands. */
  start(): void {
    this.now.fill(performance.now());
    for (let slot = 0; slot < this.setup.plan.depth; slot++) this.issue(slot);
    this.sq.ring();
  }

  /**
   * Takes completions and submits as many commands. The code path stays the same for the whole run: V8 recompiles a loop that
   * takes a new path, which costs CPU time.
   * @returns the number of completions
   * @throws NvmeError, NvmeProtocolError
   */
  turn(): number {
    const { cq, sq, since, latencies } = this;
    const count = cq.reap(cq.entries);
    if (count === 0) return 0;
    const now = performance.now();
    this.now[0] = now;
    for (let i = 0; i < count; i++) {
      const slot = this.settle(i);
      latencies.record(wholeNs((now - (since[slot] ?? 0)) * NS_PER_MS));
      this.issue(slot);
    }
    // The controller waits for these, so they come first.
    sq.ring();
    this.giveBack(count);
    return count;
  }

  /** Takes completions without submitting more. @returns their number @throws as {@link turn} */
  drain(): number {
    const count = this.cq.reap(this.cq.entries);
    for (let i = 0; i < count; i++) this.settle(i);
    this.giveBack(count);
    return count;
  }

  /** @returns the completion's slot */
  protected settle(at: number): number {
    const { cq, isOutstanding } = this;
    const slot = cq.cids[at] ?? 0;
    const status = cq.statuses[at] ?? 0;
    if (status !== 0 || isOutstanding[slot] !== 1) this.refuse(slot, status);
    isOutstanding[slot] = 0;
    return slot;
  }

  protected giveBack(count: number): void {
    this.taken += count;
    if (this.taken <= this.ringAfter) return;
    this.cq.ring();
    this.taken = 0;
  }

  private issue(slot: number): void {
    const { sq, setup, isOutstanding, since } = this;
    const { prps, plan } = setup;
    const { blocks, nsid } = plan;
    const lba = this.nextPlace(plan.places) * blocks;
    const at = slot << 2;
    writeIoEntry(
      sq.words,
      sq.slot,
      this.opcode,
      slot,
      nsid,
      lba >>> 0,
      Math.floor(lba / TWO_32),
      blocks - 1,
      0,
      prps[at] ?? 0,
      prps[at + 1] ?? 0,
      prps[at + 2] ?? 0,
      prps[at + 3] ?? 0,
    );
    sq.post();
    isOutstanding[slot] = 1;
    since[slot] = this.now[0] ?? 0;
  }

  private nextPlace(places: number): number {
    if (this.isRandom) return this.draw(places);
    const { place } = this;
    this.place = place + 1 < places ? place + 1 : 0;
    return place;
  }

  /** A random whole number below `limit`. */
  protected draw(limit: number): number {
    // xorshift32: fast, and random enough for a disk.
    let x = this.random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.random = x;
    return Math.floor(((x >>> 0) / TWO_32) * limit);
  }

  private refuse(slot: number, status: number): never {
    const { id, plan } = this.setup;
    if (status !== 0) throw new NvmeError(`${plan.workload} on queue ${id}`, status);
    throw new NvmeProtocolError(`queue ${id}: completion for command id ${slot}, which is not outstanding`);
  }
}
