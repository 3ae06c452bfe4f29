/** Queue pairs of `iova nvme perf`: bare rings, made by admin commands, with their commands' data ready in memory. */
import { randomFillSync } from "node:crypto";
import { ArgumentError, UnsupportedError } from "../../../core/errors.js";
import type { DmaBuffer } from "../../../dma/buffer.js";
import { prpListPages, writePrps } from "../../../nvme/command/prp.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { CQE_WORDS } from "../../../nvme/queues/completion-queue.js";
import { Doorbells } from "../../../nvme/queues/doorbells.js";
import { SQE_WORDS } from "../../../nvme/queues/submission-queue.js";
import { AdminOpcode, FeatureId } from "../../../nvme/spec/opcodes.js";
import { QueueFlag } from "../../../nvme/spec/queues.js";
import type { PerfPlan, PerfQueueSetup } from "./queue.js";

/** As the driver's own queues are by default; more only where the depth needs it. */
const USUAL_ENTRIES = 256;
const TWO_32 = 2 ** 32;
/** Words of PRP1 and PRP2, and where they stand in an entry. */
const PRP_WORDS = 4;
const PRP_AT = 6;

export class PerfRings {
  readonly setups: readonly PerfQueueSetup[];
  /** Tells the controller of doorbells that are no registers here; such queues can be driven by this thread only. */
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
      const sqDoorbell = 2 * id * strideWords;
      const cqDoorbell = (2 * id + 1) * strideWords;
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
   * @param vectorOf interrupt vector of each queue; left out, they are polled
   * @throws ArgumentError, UnsupportedError (more queues than the controller gives), NvmeError, ...; nothing is left
   */
  static async create(
    nvme: NvmeController,
    count: number,
    plan: PerfPlan,
    ioBytes: number,
    vectorOf?: (queue: number) => number,
  ): Promise<PerfRings> {
    const zeroBased = count - 1;
    const { dw0 } = await nvme.admin({
      name: "Set Features (Number of Queues)",
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.numberOfQueues,
      cdw11: ((zeroBased << 16) | zeroBased) >>> 0,
    });
    const granted = Math.min((dw0 & 0xffff) + 1, (dw0 >>> 16) + 1);
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
        await this.nvme.admin({
          name: "Delete I/O Submission Queue",
          opcode: AdminOpcode.deleteIoSubmissionQueue,
          cdw10: id,
        });
        await this.deleteCompletionQueue(id);
      }
    } finally {
      // Where the controller couldn't be told, it is stopped when it is closed, and its memory is given back with it.
      if (this.created.length === 0) for (const buffer of this.buffers.splice(0)) buffer.close();
    }
  }

  private async deleteCompletionQueue(id: number): Promise<void> {
    await this.nvme.admin({
      name: "Delete I/O Completion Queue",
      opcode: AdminOpcode.deleteIoCompletionQueue,
      cdw10: id,
    });
  }

  private async createAt({ id, entries }: PerfQueueSetup, at: number, vector?: number): Promise<void> {
    const size = (((entries - 1) << 16) | id) >>> 0;
    const [sq, cq] = [this.buffers[3 * at], this.buffers[3 * at + 1]];
    if (sq === undefined || cq === undefined) throw new Error(`queue ${id} has no memory`);
    const length = this.nvme.memoryPageBytes;
    const interrupts = vector === undefined ? 0 : (vector << 16) | QueueFlag.interruptsEnabled;
    await this.nvme.admin({
      name: "Create I/O Completion Queue",
      opcode: AdminOpcode.createIoCompletionQueue,
      cdw10: size,
      cdw11: (interrupts | QueueFlag.contiguous) >>> 0,
      data: { buffer: cq, length: Math.min(cq.sizeBytes, length) },
    });
    try {
      await this.nvme.admin({
        name: "Create I/O Submission Queue",
        opcode: AdminOpcode.createIoSubmissionQueue,
        cdw10: size,
        cdw11: ((id << 16) | QueueFlag.contiguous) >>> 0,
        data: { buffer: sq, length: Math.min(sq.sizeBytes, length) },
      });
    } catch (error) {
      await this.deleteCompletionQueue(id);
      throw error;
    }
    this.created.push(id);
  }

  private alloc(sizeBytes: number): DmaBuffer {
    const buffer = this.nvme.dma.alloc(sizeBytes, { alignBytes: this.nvme.memoryPageBytes });
    this.buffers.push(buffer);
    return buffer;
  }

  /** Memory for the data of a queue's commands. @returns PRP1 and PRP2 of each */
  private data(depth: number, ioBytes: number, writes: boolean): Uint32Array {
    const pageBytes = this.nvme.memoryPageBytes;
    // Each slot begins at a page.
    const slotBytes = Math.ceil(ioBytes / pageBytes) * pageBytes;
    const listBytes = prpListPages(ioBytes, pageBytes) * pageBytes;
    const buffer = this.alloc(depth * (slotBytes + listBytes));
    // What some disks make of zeros says little of what they make of data.
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
