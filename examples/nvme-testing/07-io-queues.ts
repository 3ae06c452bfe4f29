/**
 * I/O queues: Create I/O Completion Queue and Create I/O Submission Queue, contiguous and in scattered pages, the order of creation and
 * deletion, and what the controller refuses. NVMe Base, "Create I/O Completion Queue command", "... Submission Queue command".
 */
import { AdminOpcode, NvmeStatus, QueueFlag } from "iova/nvme";
import { Bench, claim, send } from "./bench.js";

await using bench = await Bench.open();
const admin = await bench.start();
const { raw } = bench;
const { createIoCompletionQueue, createIoSubmissionQueue, deleteIoCompletionQueue, deleteIoSubmissionQueue } =
  AdminOpcode;
const hex = (status: number): string => `status ${status.toString(16)}h`;
const sizeAndId = (entries: number, id: number): number => ((entries - 1) << 16) | id;

// The completion queue comes first: a submission queue names the one that its completions go to.
const cq = raw.completionQueue({ id: 1, entries: 16 });
const sq = raw.submissionQueue(cq, { id: 1, entries: 16 });
const createSq = {
  opcode: createIoSubmissionQueue,
  prp1: sq.memory.iova,
  cdw10: sizeAndId(16, 1),
  cdw11: (1 << 16) | QueueFlag.contiguous,
};
const early = await send(admin, createSq);
claim(
  "a submission queue without its completion queue is refused",
  early.status === NvmeStatus.completionQueueInvalid,
  hex(early.status),
);
const createCq = {
  opcode: createIoCompletionQueue,
  prp1: cq.memory.iova,
  cdw10: sizeAndId(16, 1),
  cdw11: QueueFlag.contiguous,
};
claim("a contiguous completion queue is created", (await send(admin, createCq)).status === 0);
const twice = await send(admin, createCq);
claim("its id can't be used again", twice.status === NvmeStatus.invalidQueueIdentifier, hex(twice.status));
claim("a contiguous submission queue is created", (await send(admin, createSq)).status === 0);
claim(
  "it takes a Flush",
  [0, NvmeStatus.invalidNamespace].includes((await send(sq, { opcode: 0, nsid: 1 })).status),
);

// Sizes beyond CAP.MQES, an id 0, an address within a page.
const most = raw.capabilities.maxQueueEntries;
for (const [what, fields, expected] of [
  ["id 0", { cdw10: sizeAndId(16, 0) }, NvmeStatus.invalidQueueIdentifier],
  ["one entry", { cdw10: sizeAndId(1, 2) }, NvmeStatus.invalidQueueSize],
  ...(most < 65536
    ? [
        [
          "an entry more than CAP.MQES allows",
          { cdw10: sizeAndId(most + 1, 2) },
          NvmeStatus.invalidQueueSize,
        ] as const,
      ]
    : []),
] as const) {
  const { status } = await send(admin, { ...createCq, cdw10: fields.cdw10 });
  claim(`${what} is refused`, status === expected, hex(status));
}

// In pieces (PC 0): PRP1 then points to a list of pages. CAP.CQR says whether the controller takes it.
const pages = bench.alloc(2 * 4096);
const list = bench.alloc(4096);
list.memory.words.set([pages.iovaLow, pages.iovaHigh, pages.iovaLow + 4096, pages.iovaHigh]);
const scattered = await send(admin, { ...createCq, prp1: list.iova, cdw10: sizeAndId(512, 3), cdw11: 0 });
if (raw.capabilities.contiguousQueues)
  claim(
    "a queue in pieces is refused, as CAP.CQR says",
    scattered.status === NvmeStatus.invalidField,
    hex(scattered.status),
  );
else claim("a queue in pieces is created, as CAP.CQR says", scattered.status === 0, hex(scattered.status));

// Deletion goes the other way.
const busy = await send(admin, { opcode: deleteIoCompletionQueue, cdw10: 1 });
claim(
  "a completion queue in use isn't deleted",
  busy.status === NvmeStatus.invalidQueueDeletion,
  hex(busy.status),
);
claim(
  "the submission queue is deleted",
  (await send(admin, { opcode: deleteIoSubmissionQueue, cdw10: 1 })).status === 0,
);
claim(
  "then the completion queue",
  (await send(admin, { opcode: deleteIoCompletionQueue, cdw10: 1 })).status === 0,
);

await bench.stop();
for (const buffer of [pages, list]) buffer.close();
