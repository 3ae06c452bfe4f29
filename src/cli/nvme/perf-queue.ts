/**
 * One queue pair of `iova nvme perf` at work, on the ring layer alone: as many commands as asked for are outstanding, each
 * completed one is followed by another, and all that one look finds share a clock reading and a doorbell. Nothing is
 * allocated for a command.
 */
import { CompletionQueue } from "../../nvme/completion-queue.js";
import { NvmeError, NvmeProtocolError } from "../../nvme/error.js";
import { IoOpcode } from "../../nvme/spec/opcodes.js";
import { writeIoEntry } from "../../nvme/submission-entry.js";
import { SubmissionQueue } from "../../nvme/submission-queue.js";
import { TimeoutError } from "../../sys/errors.js";
import { type HistogramData, LatencyHistogram } from "./perf-histogram.js";

export const workloads = ["read", "randread", "write", "randwrite", "randrw"] as const;
export type Workload = (typeof workloads)[number];

/** What is to be done, the same for every queue. */
export interface PerfPlan {
  readonly workload: Workload;
  readonly depth: number;
  readonly nsid: number;
  /** Blocks of each command. */
  readonly blocks: number;
  /** Commands' places on the namespace: one behind the other, as many as fit. */
  readonly places: number;
  readonly warmUpMs: number;
  readonly runMs: number;
  readonly timeoutMs: number;
}

/** A queue pair as it can be handed to another thread: memory, and where its commands' data is. */
export interface PerfQueueSetup {
  readonly id: number;
  readonly entries: number;
  readonly sqWords: Uint32Array;
  readonly cqWords: Uint32Array;
  readonly doorbells: Uint32Array;
  readonly sqDoorbell: number;
  readonly cqDoorbell: number;
  /** PRP1 and PRP2 of each command slot: four words. */
  readonly prps: Uint32Array;
  /** Without interrupts. */
  readonly polled: boolean;
  readonly plan: PerfPlan;
}

/** What a queue has seen between warm-up and end. */
export interface PerfQueueResult {
  readonly latencies: HistogramData;
  readonly seconds: number;
  /** Of the process, all threads together. */
  readonly cpuMicroseconds: number;
  /** When measuring began and ended, by performance.now() of this thread. */
  readonly from: number;
  readonly to: number;
}

type Phase = "warming up" | "measuring" | "draining" | "done";

/** How often a queue that finds nothing looks at the clock. */
const IDLE_TURNS = 1024;
const NS_PER_MS = 1e6;
const TWO_32 = 2 ** 32;

export class PerfQueue {
  private readonly sq: SubmissionQueue;
  private readonly cq: CompletionQueue;
  private readonly latencies = new LatencyHistogram();
  /** When each slot's command was handed over, in milliseconds. */
  private readonly since: Float64Array;
  private readonly isOutstanding: Uint8Array;
  private readonly isRandom: boolean;
  /** Of 256 commands so many are writes. */
  private readonly writeShare: number;
  private phase: Phase = "warming up";
  private outstanding = 0;
  private place = 0;
  /** State of xorshift32: never 0. */
  private random: number;
  private idleTurns = 0;
  /** Completions taken since the completion queue's doorbell rang. */
  private taken = 0;
  private readonly ringAfter: number;
  private nextPhaseAt: number;
  private lastCompletion: number;
  private from = 0;
  private to = 0;
  private cpuBefore: NodeJS.CpuUsage | undefined;
  private cpuMicroseconds = 0;

  constructor(private readonly setup: PerfQueueSetup) {
    const { id, entries, sqWords, cqWords, doorbells, sqDoorbell, cqDoorbell, plan } = setup;
    this.sq = new SubmissionQueue(id, entries, sqWords, doorbells, sqDoorbell);
    this.cq = new CompletionQueue(id, entries, cqWords, doorbells, cqDoorbell);
    // A polled queue gives entries back by the dozen, long before the controller runs out of them: each doorbell is a store
    // to the device. An interrupt may wait for what was taken to be given back.
    this.ringAfter = setup.polled ? Math.min(entries >> 2, entries - 1 - plan.depth) : 0;
    this.since = new Float64Array(plan.depth);
    this.isOutstanding = new Uint8Array(plan.depth);
    this.isRandom = plan.workload.startsWith("rand");
    this.writeShare = plan.workload === "randrw" ? 128 : plan.workload.endsWith("write") ? 256 : 0;
    // Each queue begins elsewhere.
    this.random = (0x9e37_79b9 * id) | 1;
    this.place = Math.floor((plan.places / 64) * (id - 1)) % plan.places;
    this.lastCompletion = performance.now();
    this.nextPhaseAt = this.lastCompletion + plan.warmUpMs;
  }

  get isDone(): boolean {
    return this.phase === "done";
  }

  /** Hands the first commands over. */
  start(): void {
    const now = performance.now();
    this.outstanding = this.setup.plan.depth;
    this.changePhase(now);
    for (let slot = 0; slot < this.setup.plan.depth; slot++) this.issue(slot, now);
    this.sq.ring();
  }

  /**
   * Takes what has completed, and hands as much over again.
   * @returns how many
   * @throws NvmeError, NvmeProtocolError, TimeoutError
   */
  turn(): number {
    const { cq, sq, since, isOutstanding, latencies } = this;
    const count = cq.reap(cq.entries);
    if (count === 0) {
      if ((++this.idleTurns & (IDLE_TURNS - 1)) === 0) this.checkTime(performance.now());
      return 0;
    }
    const now = performance.now();
    const { cids, statuses } = cq;
    const measures = this.phase === "measuring";
    const goesOn = this.phase !== "draining";
    for (let i = 0; i < count; i++) {
      const slot = cids[i] ?? 0;
      if ((statuses[i] ?? 0) !== 0 || isOutstanding[slot] !== 1) this.refuse(slot, statuses[i] ?? 0);
      isOutstanding[slot] = 0;
      if (measures) latencies.record((now - (since[slot] ?? 0)) * NS_PER_MS);
      if (goesOn) this.issue(slot, now);
    }
    if (!goesOn) this.outstanding -= count;
    this.lastCompletion = now;
    // First what the controller waits for.
    sq.ring();
    this.taken += count;
    if (this.taken > this.ringAfter) {
      cq.ring();
      this.taken = 0;
    }
    if (now >= this.nextPhaseAt || this.outstanding === 0) this.changePhase(now);
    return count;
  }

  /** For a queue that waits for interrupts and gets none. @throws TimeoutError */
  checkTime(now: number): void {
    const { timeoutMs } = this.setup.plan;
    if (now - this.lastCompletion > timeoutMs) {
      throw new TimeoutError(`${this.outstanding} commands of queue ${this.setup.id}`, timeoutMs);
    }
  }

  /** After the end. */
  result(): PerfQueueResult {
    const { from, to, cpuMicroseconds } = this;
    return { latencies: this.latencies.data, seconds: (to - from) / 1000, cpuMicroseconds, from, to };
  }

  private issue(slot: number, now: number): void {
    const { sq, setup, isOutstanding, since } = this;
    const { prps, plan } = setup;
    const { blocks, nsid } = plan;
    const lba = this.nextPlace(plan.places) * blocks;
    // In place of a random number of its own: the upper bits of the last one.
    const writes = this.writeShare > (this.writeShare === 128 ? (this.random >>> 16) & 0xff : 0);
    const at = slot << 2;
    writeIoEntry(
      sq.words,
      sq.slot,
      writes ? IoOpcode.write : IoOpcode.read,
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
    since[slot] = now;
  }

  private nextPlace(places: number): number {
    if (this.isRandom) {
      // xorshift32: quick, and good enough for a disk.
      let x = this.random;
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      this.random = x;
      return Math.floor(((x >>> 0) / TWO_32) * places);
    }
    const { place } = this;
    this.place = place + 1 < places ? place + 1 : 0;
    return place;
  }

  private changePhase(now: number): void {
    const { plan } = this.setup;
    if (this.phase === "warming up" && now >= this.nextPhaseAt) {
      this.phase = "measuring";
      this.nextPhaseAt = now + plan.runMs;
      this.from = now;
      this.cpuBefore = process.cpuUsage();
    } else if (this.phase === "measuring" && now >= this.nextPhaseAt) {
      const { user, system } = process.cpuUsage(this.cpuBefore);
      this.cpuMicroseconds = user + system;
      this.phase = "draining";
      this.to = now;
      this.nextPhaseAt = Number.POSITIVE_INFINITY;
    } else if (this.phase === "draining" && this.outstanding === 0) this.phase = "done";
  }

  private refuse(slot: number, status: number): never {
    const { id, plan } = this.setup;
    if (status !== 0) throw new NvmeError(`${plan.workload} on queue ${id}`, status);
    throw new NvmeProtocolError(`queue ${id}: completion for command id ${slot}, which is not outstanding`);
  }
}
