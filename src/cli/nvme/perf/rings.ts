/** The queue pairs of `iova nvme perf`: rings that admin commands create, and memory for the data of their commands. */
import { randomFillSync } from "node:crypto";
import { ArgumentError, UnsupportedError } from "../../../core/errors.js";
import type { DmaBuffer } from "../../../dma/buffer.js";
import { prpListPages, writePrps } from "../../../nvme/command/prp.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { CQE_WORDS } from "../../../nvme/queues/completion-queue.js";
import { Doorbells } from "../../../nvme/queues/doorbells.js";
import { createPair, deletePair, requestPairs } from "../../../nvme/queues/queue-commands.js";
import { allocRing } from "../../../nvme/queues/ring-memory.js";
import { SQE_WORDS } from "../../../nvme/queues/submission-queue.js";
import { completionDoorbell, submissionDoorbell } from "../../../nvme/spec/doorbells.js";
import type { PerfPlan, PerfQueueSetup } from "./queue.js";

/** The driver's default, too. A larger depth gets more. */
const USUAL_ENTRIES = 256;
const TWO_32 = 2 ** 32;
/** Words of PRP1 and PRP2, and their position in an entry. */
const PRP_WORDS = 4;
const PRP_AT = 6;

export class PerfRings {
  readonly setups: readonly PerfQueueSetup[];
  /** Sends doorbells as messages if they can't be mapped. Only this thread can drive such queues. */
  readonly afterRing: (() => void) | undefined;
  private readonly buffers: DmaBuffer[] = [];
  private readonly created: number[] = [];

  private constructor(
    private readonly nvme: NvmeController,
    count: number,
    plan: PerfPlan,
    ioBytes: number,
    polled: boolean,
  ) {
    const { maxQueueEntries, doorbellStrideBytes } = nvme.capabilities;
    const entries = Math.min(maxQueueEntries, Math.max(USUAL_ENTRIES, plan.depth + 1));
    if (plan.depth > entries - 1) {
      throw new ArgumentError(
        `a depth of ${plan.depth} is more than this controller's queues hold (${entries - 1})`,
      );
    }
    const doorbells = new Doorbells(nvme.device);
    this.afterRing = doorbells.afterRing;
    const strideWords = doorbellStrideBytes / 4;
    this.setups = Array.from({ length: count }, (_, at): PerfQueueSetup => {
      const id = at + 1;
      const sqDoorbell = submissionDoorbell(id, strideWords);
      const cqDoorbell = completionDoorbell(id, strideWords);
      doorbells.add(sqDoorbell);
      doorbells.add(cqDoorbell);
      return {
        id,
        entries,
        sqWords: this.alloc(entries * SQE_WORDS * 4).memory.words.subarray(0, entries * SQE_WORDS),
        cqWords: this.alloc(entries * CQE_WORDS * 4).memory.words.subarray(0, entries * CQE_WORDS),
        doorbells: doorbells.words,
        sqDoorbell,
        cqDoorbell,
        prps: this.data(plan.depth, ioBytes, plan.workload !== "read" && plan.workload !== "randread"),
        polled,
        plan,
      };
    });
  }

  /**
   * @param nvme opened without I/O queues
   * @param vectorOf interrupt vector of each queue; by default queues are polled
   * @throws ArgumentError, UnsupportedError (more queues than the controller grants), NvmeError, ...; frees everything then
   */
  static async create(
    nvme: NvmeController,
    count: number,
    plan: PerfPlan,
    ioBytes: number,
    vectorOf?: (queue: number) => number,
  ): Promise<PerfRings> {
    const granted = await requestPairs((command) => nvme.admin(command), count);
    if (granted < count) {
      throw new UnsupportedError(`${nvme.bdf} gives ${granted} I/O queues, not ${count}`);
    }
    const rings = new PerfRings(nvme, count, plan, ioBytes, vectorOf === undefined);
    try {
      for (const [at, setup] of rings.setups.entries()) await rings.createAt(setup, at, vectorOf?.(at));
      return rings;
    } catch (error) {
      await rings.close();
      throw error;
    }
  }

  /** Deletes the queues; nothing may be outstanding on them. */
  async close(): Promise<void> {
    try {
      for (const id of this.created.splice(0).reverse()) {
        await deletePair((command) => this.nvme.admin(command), id);
      }
    } finally {
      // If deleting failed, closing the controller stops it and frees the memory.
      if (this.created.length === 0) for (const buffer of this.buffers.splice(0)) buffer.close();
    }
  }

  private async createAt({ id, entries }: PerfQueueSetup, at: number, vector?: number): Promise<void> {
    const [submission, completion] = [this.buffers[3 * at], this.buffers[3 * at + 1]];
    if (submission === undefined || completion === undefined) throw new Error(`queue ${id} has no memory`);
    const pageBytes = this.nvme.memoryPageBytes;
    const pair = { id, entries, submission, completion, pageBytes, vector };
    await createPair((command) => this.nvme.admin(command), pair);
    this.created.push(id);
  }

  private alloc(sizeBytes: number): DmaBuffer {
    const buffer = allocRing(this.nvme.dma, sizeBytes, this.nvme.memoryPageBytes);
    this.buffers.push(buffer);
    return buffer;
  }

  /** Memory for the data of a queue's commands. @returns PRP1 and PRP2 of each */
  private data(depth: number, ioBytes: number, writes: boolean): Uint32Array {
    const pageBytes = this.nvme.memoryPageBytes;
    // Each slot starts at a page.
    const slotBytes = Math.ceil(ioBytes / pageBytes) * pageBytes;
    const listBytes = prpListPages(ioBytes, pageBytes) * pageBytes;
    const buffer = this.alloc(depth * (slotBytes + listBytes));
    // Some disks treat zeros in a special way.
    if (writes) randomFillSync(buffer.bytes.subarray(0, depth * slotBytes));
    const prps = new Uint32Array(new SharedArrayBuffer(depth * PRP_WORDS * 4));
    const entry = new Uint32Array(SQE_WORDS);
    const { words } = buffer.memory;
    const addressAt = (offset: number): [low: number, high: number] => {
      const low = buffer.iovaLow + offset;
      return [low % TWO_32, buffer.iovaHigh + Math.floor(low / TWO_32)];
    };
    for (let slot = 0; slot < depth; slot++) {
      const listAt = depth * slotBytes + slot * listBytes;
      const [low, high] = addressAt(slot * slotBytes);
      const [iovaLow, iovaHigh] = addressAt(listAt);
      const list = { words, at: listAt / 4, iovaLow, iovaHigh };
      writePrps(entry, 0, low, high, ioBytes, pageBytes, list);
      prps.set(entry.subarray(PRP_AT, PRP_AT + PRP_WORDS), slot * PRP_WORDS);
    }
    return prps;
  }
}
