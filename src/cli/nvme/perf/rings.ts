/** The queue pairs of `iova nvme perf`: rings that admin commands create, and memory for the data of their commands. */
import { randomFillSync } from "node:crypto";
import { ArgumentError, UnsupportedError } from "../../../core/errors.js";
import { largestOf } from "../../../core/lists.js";
import type { DmaBuffer } from "../../../dma/buffer.js";
import { prpListPages, writePrps } from "../../../nvme/command/prp.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { CQE_WORDS } from "../../../nvme/queues/completion-queue.js";
import { Doorbells } from "../../../nvme/queues/doorbells.js";
import { createPair, deletePair, requestPairs } from "../../../nvme/queues/queue-commands.js";
import { allocRing } from "../../../nvme/queues/ring-memory.js";
import { SQE_WORDS } from "../../../nvme/queues/submission-queue.js";
import { completionDoorbell, submissionDoorbell } from "../../../nvme/spec/doorbells.js";
import { isReading, type PerfPlan, type PerfQueueSetup, Shared } from "./queue.js";

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
        of: count,
        entries,
        sqWords: this.alloc(entries * SQE_WORDS * 4).memory.words.subarray(0, entries * SQE_WORDS),
        cqWords: this.alloc(entries * CQE_WORDS * 4).memory.words.subarray(0, entries * CQE_WORDS),
        doorbells: doorbells.words,
        sqDoorbell,
        cqDoorbell,
        ...this.data(plan),
        shared: sharedWords(Shared.samples + plan.samples),
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
    vectorOf?: (queue: number) => number,
  ): Promise<PerfRings> {
    const granted = await requestPairs((command) => nvme.admin(command), count);
    if (granted < count) {
      throw new UnsupportedError(`${nvme.bdf} gives ${granted} I/O queues, not ${count}`);
    }
    const rings = new PerfRings(nvme, count, plan, vectorOf === undefined);
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

  /** Memory for the data of a queue's commands, and the data pointers of each slot for each size. */
  private data({ depth, shape, ioBytes, workload }: PerfPlan): Pick<PerfQueueSetup, "prps" | "area"> {
    const pageBytes = this.nvme.memoryPageBytes;
    const pages = (bytes: number): number => Math.ceil(bytes / pageBytes) * pageBytes;
    const sizes = shape?.sizes.map(({ blocks }) => blocks * shape.strideBytes) ?? [ioBytes];
    // Each slot starts at a page.
    const slotBytes = pages(largestOf(sizes));
    const listBytes = sizes.map((bytes) => prpListPages(bytes, pageBytes) * pageBytes);
    const allListBytes = listBytes.reduce((sum, bytes) => sum + bytes, 0);
    const separate =
      shape === undefined || shape.strideBytes > shape.blockSizeBytes ? 0 : shape.metadataBytes;
    const metadataSlotBytes = pages((slotBytes / (shape?.blockSizeBytes ?? 1)) * separate);
    const metadataAt = depth * (slotBytes + allListBytes);
    const buffer = this.alloc(metadataAt + depth * metadataSlotBytes);
    // Some disks treat zeros in a special way.
    if (!isReading(workload)) randomFillSync(buffer.bytes.subarray(0, depth * slotBytes));
    const { words } = buffer.memory;
    const addressAt = (offset: number): [low: number, high: number] => {
      const low = buffer.iovaLow + offset;
      return [low % TWO_32, buffer.iovaHigh + Math.floor(low / TWO_32)];
    };
    const prps = sharedWords(sizes.length * depth * PRP_WORDS);
    const pointers = sharedWords(depth * 2);
    const entry = new Uint32Array(SQE_WORDS);
    let listAt = depth * slotBytes;
    for (const [size, bytes] of sizes.entries()) {
      for (let slot = 0; slot < depth; slot++) {
        const [low, high] = addressAt(slot * slotBytes);
        const [iovaLow, iovaHigh] = addressAt(listAt);
        const list = { words, at: listAt / 4, iovaLow, iovaHigh };
        // An SGL Data Block descriptor: address, length, type 0.
        if (shape?.sgl === true) entry.set([low, high, bytes, 0], PRP_AT);
        else writePrps(entry, 0, low, high, bytes, pageBytes, list);
        prps.set(entry.subarray(PRP_AT, PRP_AT + PRP_WORDS), (size * depth + slot) * PRP_WORDS);
        listAt += listBytes[size] ?? 0;
        if (separate > 0) pointers.set(addressAt(metadataAt + slot * metadataSlotBytes), 2 * slot);
      }
    }
    const data = buffer.bytes.subarray(0, depth * slotBytes);
    const metadata = separate === 0 ? undefined : buffer.bytes.subarray(metadataAt);
    return { prps, area: { data, slotBytes, metadata, metadataSlotBytes, pointers } };
  }
}

/** Words that threads share. */
function sharedWords(count: number): Uint32Array {
  return new Uint32Array(new SharedArrayBuffer(count * 4));
}
