/** Queues, doorbells, phases, arbitration. */
import { closeAll } from "../../../../core/lifetime/close-all.js";
import {
  AdminOpcode,
  AsyncEventInfo,
  AsyncEventType,
  FeatureId,
  LogPageId,
} from "../../../../nvme/spec/opcodes.js";
import { QueuePriority } from "../../../../nvme/spec/queues.js";
import { AMS_WEIGHTED, ArbitrationMechanism, ControllerConfig } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench, Queue } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, needs } from "../findings.js";
import { bufferQueues } from "./buffer-queues.js";
import { readLog } from "./logs-and-features.js";

const CREATE_CQ = "Base: Create I/O Completion Queue command";
const CREATE_SQ = "Base: Create I/O Submission Queue command";
const { createIoCompletionQueue, createIoSubmissionQueue, deleteIoCompletionQueue, deleteIoSubmissionQueue } =
  AdminOpcode;
/** Get Features (Number of Queues), which takes no data: the plainest command. */
const PLAIN = { opcode: AdminOpcode.getFeatures, cdw: [FeatureId.numberOfQueues] };
const FLUSH = { opcode: 0 };

const size = (entries: number, id: number): number => ((entries - 1) << 16) | id;

/** A check that a creation of a completion queue is refused. */
const refused = (
  what: string,
  fields: (id: number, bench: ConformBench) => { readonly cdw: readonly number[]; readonly shift?: bigint },
  ...expected: readonly number[]
) =>
  [
    `a completion queue ${what} is refused`,
    CREATE_CQ,
    async (bench: ConformBench) => {
      const id = await bench.freeId();
      const { cdw, shift = 0n } = fields(id, bench);
      const prp1 = bench.alloc(8192).iova + shift;
      await bench.fails(await bench.admin(), { opcode: createIoCompletionQueue, prp1, cdw }, ...expected);
    },
  ] as const;

/** A check that a queue that there isn't can't be deleted, nor an admin queue. */
const missing = (kind: string, opcode: number) =>
  [
    `a ${kind} queue that there isn't can't be deleted: Invalid Queue Identifier`,
    `Base: Delete I/O ${kind === "submission" ? "Submission" : "Completion"} Queue command`,
    async (bench: ConformBench) => {
      for (const id of [await bench.freeId(), 0, 0xffff])
        await bench.fails(await bench.admin(), { opcode, cdw: [id] }, NvmeStatus.invalidQueueIdentifier);
    },
  ] as const;

/** A check that a creation of a submission queue is refused. Its completion queue is there. */
const refusedSq = (
  what: string,
  fields: (id: number, bench: ConformBench) => { readonly cdw: readonly number[]; readonly shift?: bigint },
  ...expected: readonly number[]
) =>
  [
    `a submission queue ${what} is refused`,
    CREATE_SQ,
    async (bench: ConformBench) => {
      const { sq } = await bench.pair();
      await bench.ok(await bench.admin(), { opcode: deleteIoSubmissionQueue, cdw: [sq.id] });
      const { cdw, shift = 0n } = fields(sq.id, bench);
      const prp1 = bench.alloc(8192).iova + shift;
      await bench.fails(await bench.admin(), { opcode: createIoSubmissionQueue, prp1, cdw }, ...expected);
      await bench.stop();
    },
  ] as const;

/** A check of the event that a wrong doorbell causes. */
const reported = (what: string, ring: (bench: ConformBench, queue: Queue) => Promise<void> | void) =>
  [
    `${what} is reported by an event`,
    "Base: Asynchronous Event Information, Error Status",
    async (bench: ConformBench) => {
      const admin = await bench.start();
      const queue = await bench.pair({ entries: 16, cqEntries: 8 });
      const event = bench.post(admin, { opcode: AdminOpcode.asyncEventRequest });
      admin.sq.ringDoorbell();
      await bench.controller();
      await ring(bench, queue);
      const { dw0 } = await bench.completed(admin, event);
      const [type, info] = [dw0 & 7, (dw0 >>> 8) & 0xff];
      const isRight = type === AsyncEventType.error && info === AsyncEventInfo.error.invalidDoorbellValue;
      expect(isRight, `event type ${type}, information ${info}`);
      await bench.stop();
    },
  ] as const;

/** Posts Flush commands, rings once, and waits for all. */
async function flood(bench: ConformBench, queue: Queue, count: number): Promise<void> {
  const { nsid } = await bench.blocks();
  const cids = Array.from({ length: count }, () => bench.post(queue, { ...FLUSH, nsid }));
  queue.sq.ringDoorbell();
  for (const cid of cids) if (queue.outstanding.has(cid)) await bench.completed(queue, cid);
}

export const queues = subjectOf("queues", [
  [
    "SQHD counts the entries that the controller has taken",
    "Base: Common Completion Queue Entry Layout",
    async (bench) => {
      const queue = await bench.start(8);
      for (let i = 1; i <= 20; i++) {
        const { sqHead } = await bench.ok(queue, PLAIN);
        expect(sqHead === i % 8, `SQHD ${sqHead} after ${i} commands in a queue of 8`);
      }
    },
  ],
  [
    "the phase changes with each pass round the queue",
    "Base: Phase Tag",
    async (bench) => {
      const queue = await bench.start(4);
      for (let i = 0; i < 13; i++) {
        await bench.ok(queue, PLAIN);
        const phase = queue.sq.completionQueue.phaseAt(i % 4);
        expect(phase === ((i >> 2) & 1 ? 0 : 1), `phase ${phase} in pass ${(i >> 2) + 1}`);
      }
    },
  ],
  [
    "any command id comes back",
    "Base: Common Command Format",
    async (bench) => {
      for (const cid of [0, 1, 0x7fff, 0x8000, 0xfffe])
        await bench.ok(await bench.admin(), { ...PLAIN, cid });
    },
  ],
  [
    "every command is completed exactly once, whatever the number outstanding",
    "Base: Completion Queue Entry",
    async (bench) => {
      const queue = await bench.pair({ entries: 16 });
      for (const count of [1, 2, 15, 15, 7]) await flood(bench, queue, count);
      bench.verify();
      await bench.remove(queue);
    },
  ],
  [
    "a queue of 2 entries works",
    CREATE_SQ,
    async (bench) => {
      const queue = await bench.pair({ entries: 2 });
      for (let i = 0; i < 5; i++) await flood(bench, queue, 1);
      await bench.remove(queue);
    },
  ],
  [
    "queues of CAP.MQES + 1 entries work",
    CREATE_SQ,
    async (bench) => {
      const queue = await bench.pair({ entries: bench.cap.maxQueueEntries });
      await flood(bench, queue, 64);
      await bench.remove(queue);
    },
  ],
  [
    "several submission queues share a completion queue",
    CREATE_SQ,
    async (bench) => {
      const first = await bench.pair({ entries: 8, cqEntries: 32 });
      const id = await bench.freeId();
      const ring = bench.raw.submissionQueue(first.sq.completionQueue, { id, entries: 8 });
      const cdw = [size(8, id), (first.sq.id << 16) | 1];
      await bench.ok(await bench.admin(), { opcode: createIoSubmissionQueue, prp1: ring.memory.iova, cdw });
      const { nsid } = await bench.blocks();
      const shared = { sq: ring, outstanding: new Set<number>() };
      await bench.send(shared, { ...FLUSH, nsid });
      await bench.send(first, { ...FLUSH, nsid });
      await bench.stop();
      ring.close();
    },
  ],
  [
    "submission queues of each priority work with weighted arbitration",
    "Base: Weighted Round Robin with Urgent Priority Class",
    async (bench) => {
      needs((bench.cap.ams & AMS_WEIGHTED) !== 0, "there is no weighted arbitration (CAP.AMS)");
      await bench.start(32, { cc: ArbitrationMechanism.weighted << ControllerConfig.AMS_SHIFT });
      for (const priority of Object.values(QueuePriority))
        await flood(bench, await bench.pair({ priority }), 3);
      await bench.stop();
    },
  ],
  [
    "a command in a queue works right after its creation",
    CREATE_SQ,
    async (bench) => {
      for (let i = 0; i < 5; i++) {
        const queue = await bench.pair();
        await flood(bench, queue, 1);
        await bench.remove(queue);
      }
    },
  ],
  [
    "a full completion queue loses nothing",
    "Base: Queue Full",
    async (bench) => {
      const { nsid } = await bench.blocks();
      const queue = await bench.pair({ entries: 16, cqEntries: 4 });
      const cq = queue.sq.completionQueue;
      for (let i = 0; i < 12; i++) bench.post(queue, { ...FLUSH, nsid });
      queue.sq.ringDoorbell();
      await bench.until("three completions", () => cq.phaseAt(2) === 1);
      await bench.controller();
      expect(cq.phaseAt(3) === 0, "the controller has filled the entry that must stay free");
      await bench.until("all completions", () => {
        while (bench.take(queue) !== undefined);
        return queue.outstanding.size === 0;
      });
      await bench.remove(queue);
    },
  ],
  [
    "what is posted is executed only after its doorbell",
    "PCIe Transport: Submission Queue Tail Doorbell",
    async (bench) => {
      const { nsid } = await bench.blocks();
      const queue = await bench.io();
      const cid = bench.post(queue, { ...FLUSH, nsid });
      await bench.controller();
      expect(bench.take(queue) === undefined, "it was executed before");
      queue.sq.ringDoorbell();
      await bench.completed(queue, cid);
    },
  ],
  reported("a doorbell value beyond the queue", (_, { sq }) => sq.ringWrongly(16)),
  reported("a completion queue's doorbell value beyond the queue", async (bench, queue) => {
    const { nsid } = await bench.blocks();
    queue.sq.completionQueue.ringWrongly(8);
    // It fills up, so that the controller has to look.
    for (let i = 0; i < 12; i++) bench.post(queue, { ...FLUSH, nsid });
    queue.sq.ringDoorbell();
  }),
  [
    "after an event there is no other of its type until its log is read",
    "Base: Asynchronous Event Request command",
    async (bench) => {
      const admin = await bench.start();
      const queue = await bench.pair({ entries: 8 });
      const cids = [0, 1].map(() => bench.post(admin, { opcode: AdminOpcode.asyncEventRequest }));
      admin.sq.ringDoorbell();
      const left = (): number => cids.filter((cid) => admin.outstanding.has(cid)).length;
      const { aerl } = await bench.controller();
      needs(aerl > 0, "there is one Asynchronous Event Request");
      const until = async (count: number): Promise<void> =>
        await bench.until("the event", () => {
          bench.take(admin);
          return left() <= count;
        });
      queue.sq.ringWrongly(8);
      await until(1);
      queue.sq.ringWrongly(9);
      // The controller may look at its queues in any order.
      for (let i = 0; i < 5; i++) await bench.controller();
      expect(left() === 1, "there was another event before the log was read");
      await readLog(bench, LogPageId.errorInformation, 64);
      queue.sq.ringWrongly(10);
      await until(0);
      await bench.stop();
    },
  ],
  refused("with id 0", () => ({ cdw: [size(16, 0), 1] }), NvmeStatus.invalidQueueIdentifier),
  refused("with id FFFFh", () => ({ cdw: [(15 << 16) | 0xffff, 1] }), NvmeStatus.invalidQueueIdentifier),
  refused("of one entry", (id) => ({ cdw: [size(1, id), 1] }), NvmeStatus.invalidQueueSize),
  refused(
    "of more entries than CAP.MQES allows",
    (id, { cap }) => {
      needs(cap.maxQueueEntries < 65_536, "CAP.MQES allows any size");
      return { cdw: [size(cap.maxQueueEntries + 1, id), 1] };
    },
    NvmeStatus.invalidQueueSize,
  ),
  refused(
    "that doesn't start at a page",
    (id) => ({ cdw: [size(16, id), 1], shift: 256n }),
    NvmeStatus.prpOffsetInvalid,
    NvmeStatus.invalidField,
  ),
  refused(
    "with an impossible interrupt vector",
    (id) => ({ cdw: [size(16, id), (0xffff << 16) | 3] }),
    NvmeStatus.invalidInterruptVector,
  ),
  refused(
    "in pieces (PC 0), where CAP.CQR is 1,",
    (id, { cap }) => {
      needs(cap.contiguousQueues, "CAP.CQR is 0");
      return { cdw: [size(16, id), 0] };
    },
    NvmeStatus.invalidField,
  ),
  [
    "an id that is in use is refused",
    CREATE_CQ,
    async (bench) => {
      const { sq } = await bench.pair();
      const fields = { prp1: bench.alloc(4096).iova, cdw: [size(16, sq.id), 1] };
      const [admin, { invalidQueueIdentifier }] = [await bench.admin(), NvmeStatus];
      await bench.fails(admin, { ...fields, opcode: createIoCompletionQueue }, invalidQueueIdentifier);
      const cdw = [size(16, sq.id), (sq.id << 16) | 1];
      await bench.fails(admin, { ...fields, opcode: createIoSubmissionQueue, cdw }, invalidQueueIdentifier);
      await bench.stop();
    },
  ],
  [
    "a submission queue without its completion queue is refused",
    CREATE_SQ,
    async (bench) => {
      const id = await bench.freeId();
      const fields = {
        opcode: createIoSubmissionQueue,
        prp1: bench.alloc(4096).iova,
        cdw: [size(16, id), (id << 16) | 1],
      };
      await bench.fails(await bench.admin(), fields, NvmeStatus.completionQueueInvalid);
    },
  ],
  [
    "a completion queue in use isn't deleted",
    "Base: Delete I/O Completion Queue command",
    async (bench) => {
      const queue = await bench.pair();
      const fields = { opcode: deleteIoCompletionQueue, cdw: [queue.sq.id] };
      await bench.fails(await bench.admin(), fields, NvmeStatus.invalidQueueDeletion);
      await flood(bench, queue, 1);
      await bench.remove(queue);
    },
  ],
  refusedSq("with id 0", (id) => ({ cdw: [size(16, 0), (id << 16) | 1] }), NvmeStatus.invalidQueueIdentifier),
  refusedSq(
    "with id FFFFh",
    (id) => ({ cdw: [(15 << 16) | 0xffff, (id << 16) | 1] }),
    NvmeStatus.invalidQueueIdentifier,
  ),
  refusedSq("of one entry", (id) => ({ cdw: [size(1, id), (id << 16) | 1] }), NvmeStatus.invalidQueueSize),
  refusedSq(
    "of more entries than CAP.MQES allows",
    (id, { cap }) => {
      needs(cap.maxQueueEntries < 65_536, "CAP.MQES allows any size");
      return { cdw: [size(cap.maxQueueEntries + 1, id), (id << 16) | 1] };
    },
    NvmeStatus.invalidQueueSize,
  ),
  refusedSq(
    "that doesn't start at a page",
    (id) => ({ cdw: [size(16, id), (id << 16) | 1], shift: 256n }),
    NvmeStatus.prpOffsetInvalid,
    NvmeStatus.invalidField,
  ),
  refusedSq(
    "of the admin completion queue",
    (id) => ({ cdw: [size(16, id), 1] }),
    NvmeStatus.completionQueueInvalid,
    NvmeStatus.invalidQueueIdentifier,
  ),
  refusedSq(
    "in pieces (PC 0), where CAP.CQR is 1,",
    (id, { cap }) => {
      needs(cap.contiguousQueues, "CAP.CQR is 0");
      return { cdw: [size(16, id), id << 16] };
    },
    NvmeStatus.invalidField,
  ),
  [
    "queues in pieces (PC 0) work where CAP.CQR is 0",
    CREATE_SQ,
    async (bench) => {
      needs(!bench.cap.contiguousQueues, "CAP.CQR is 1");
      const id = await bench.freeId();
      const page = bench.cap.minPageBytes;
      const entries = page / 16;
      const align = { iovaAlignBytes: page };
      const [cqMemory, sqMemory] = [bench.alloc(page, align), bench.alloc(entries * 64, align)];
      const cq = bench.raw.completionQueue({ id, entries, memory: cqMemory });
      const sq = bench.raw.submissionQueue(cq, { id, entries, memory: sqMemory });
      for (const [opcode, memory, flags] of [
        [createIoCompletionQueue, cqMemory, 0],
        [createIoSubmissionQueue, sqMemory, id << 16],
      ] as const) {
        const list = bench.alloc(page, align);
        const pages = Array.from(
          { length: memory.sizeBytes / page },
          (_, i) => memory.iova + BigInt(i * page),
        );
        new BigUint64Array(list.bytes.buffer, list.bytes.byteOffset, pages.length).set(pages);
        await bench.ok(await bench.admin(), { opcode, prp1: list.iova, cdw: [size(entries, id), flags] });
      }
      const queue = { sq, outstanding: new Set<number>() };
      for (let i = 0; i < 5; i++) await flood(bench, queue, 60);
      await bench.stop();
      closeAll([sq, cq], "closing rings");
    },
  ],
  [
    "a completion queue of two submission queues is deleted after both",
    "Base: Delete I/O Completion Queue command",
    async (bench) => {
      const first = await bench.pair({ cqEntries: 32 });
      const id = await bench.freeId();
      const admin = await bench.admin();
      const cdw = [size(8, id), (first.sq.id << 16) | 1];
      await bench.ok(admin, { opcode: createIoSubmissionQueue, prp1: bench.alloc(4096).iova, cdw });
      const deletion = { opcode: deleteIoCompletionQueue, cdw: [first.sq.id] };
      for (const each of [first.sq.id, id]) {
        await bench.fails(admin, deletion, NvmeStatus.invalidQueueDeletion);
        await bench.ok(admin, { opcode: deleteIoSubmissionQueue, cdw: [each] });
      }
      await bench.ok(admin, deletion);
      await bench.stop();
    },
  ],
  missing("submission", deleteIoSubmissionQueue),
  missing("completion", deleteIoCompletionQueue),
  [
    "a deleted queue can be created again, and begins anew",
    "Base: Delete I/O Submission Queue command",
    async (bench) => {
      for (let i = 0; i < 3; i++) {
        const queue = await bench.pair();
        const { nsid } = await bench.blocks();
        const { sqHead } = await bench.send(queue, { ...FLUSH, nsid });
        expect(sqHead === 1, `SQHD ${sqHead} after the first command`);
        await bench.remove(queue);
      }
    },
  ],
  ...bufferQueues,
]);
