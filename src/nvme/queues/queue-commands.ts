/** The admin commands that request, create and delete I/O queues. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DataRange, NvmeCommand, NvmeCompletion } from "../command/command.js";
import { AdminOpcode, FeatureId } from "../spec/opcodes.js";
import { QueueFlag, QueuePriority } from "../spec/queues.js";

type Admin = (command: NvmeCommand) => Promise<NvmeCompletion>;

/** One ring, for the command that creates its queue. */
export interface RingToCreate {
  /** Queue identifier. */
  readonly id: number;
  readonly entries: number;
  /** Contiguous memory that starts at a memory page. */
  readonly memory: DmaBuffer;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
}

/** A submission queue, the completion queue of the same identifier, and their rings. */
export interface PairToCreate {
  readonly id: number;
  readonly entries: number;
  readonly submission: DmaBuffer;
  readonly completion: DmaBuffer;
  readonly pageBytes: number;
  readonly vector?: number | undefined;
  readonly priority?: keyof typeof QueuePriority | undefined;
}

/** CDW10 of both create commands. */
function sizeAndId({ id, entries }: RingToCreate): number {
  return (((entries - 1) << 16) | id) >>> 0;
}

/** PRP1 alone names a contiguous queue. */
function firstPage({ memory, pageBytes }: RingToCreate): DataRange {
  return { buffer: memory, length: Math.min(memory.sizeBytes, pageBytes) };
}

/** @param vector interrupt vector; without one, the queue has no interrupts */
export function createCompletionQueue(ring: RingToCreate, vector?: number): NvmeCommand {
  const interrupts = vector === undefined ? 0 : (vector << 16) | QueueFlag.interruptsEnabled;
  return {
    name: "Create I/O Completion Queue",
    opcode: AdminOpcode.createIoCompletionQueue,
    cdw10: sizeAndId(ring),
    cdw11: (interrupts | QueueFlag.contiguous) >>> 0,
    data: firstPage(ring),
  };
}

/** @param cqid completion queue for its completions */
export function createSubmissionQueue(
  ring: RingToCreate,
  cqid: number,
  priority?: keyof typeof QueuePriority,
): NvmeCommand {
  const qprio = priority === undefined ? 0 : QueuePriority[priority] << QueueFlag.PRIORITY_SHIFT;
  return {
    name: "Create I/O Submission Queue",
    opcode: AdminOpcode.createIoSubmissionQueue,
    cdw10: sizeAndId(ring),
    cdw11: ((cqid << 16) | qprio | QueueFlag.contiguous) >>> 0,
    data: firstPage(ring),
  };
}

export function deleteCompletionQueue(id: number): NvmeCommand {
  return { name: "Delete I/O Completion Queue", opcode: AdminOpcode.deleteIoCompletionQueue, cdw10: id };
}

export function deleteSubmissionQueue(id: number): NvmeCommand {
  return { name: "Delete I/O Submission Queue", opcode: AdminOpcode.deleteIoSubmissionQueue, cdw10: id };
}

/** Creates both queues of a pair, or none. @throws what `admin` throws */
export async function createPair(admin: Admin, pair: PairToCreate): Promise<void> {
  const { id, entries, pageBytes, submission, completion, vector, priority } = pair;
  await admin(createCompletionQueue({ id, entries, pageBytes, memory: completion }, vector));
  try {
    await admin(createSubmissionQueue({ id, entries, pageBytes, memory: submission }, id, priority));
  } catch (error) {
    // The caller frees the memory, so the completion queue must be deleted.
    await admin(deleteCompletionQueue(id)).catch(() => {});
    throw error;
  }
}

/** Deletes both queues of a pair. The completion queue must exist as long as its submission queue. */
export async function deletePair(admin: Admin, id: number): Promise<void> {
  await admin(deleteSubmissionQueue(id));
  await admin(deleteCompletionQueue(id));
}

/**
 * Requests I/O queue pairs (Set Features, Number of Queues) before the first is created.
 * @returns how many pairs the controller allows; may be fewer or more than `wanted`
 */
export async function requestPairs(admin: Admin, wanted: number): Promise<number> {
  const zeroBased = Math.max(1, wanted) - 1;
  const { dw0 } = await admin({
    name: "Set Features (Number of Queues)",
    opcode: AdminOpcode.setFeatures,
    cdw10: FeatureId.numberOfQueues,
    cdw11: ((zeroBased << 16) | zeroBased) >>> 0,
  });
  return Math.min((dw0 & 0xffff) + 1, (dw0 >>> 16) + 1);
}
