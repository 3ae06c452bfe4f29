/** A worker that reads 1000 blocks through queues that it was given, with a small ring, and returns the queues. */
import { parentPort, workerData } from "node:worker_threads";
import { BorrowedBuffer, type SharedBuffer } from "../../src/dma/shared-buffer.js";
import { type HandedOver, HandedQueues } from "../../src/nvme/queues/handed-queues.js";
import { writeIoEntry } from "../../src/nvme/queues/submission-entry.js";

const { handed, shared }: { handed: HandedOver; shared: SharedBuffer } = workerData;
const queues = HandedQueues.take(handed);
const buffer = BorrowedBuffer.of(shared);
buffer.hold();
const { submission, completion } = queues;
const READ = 2;
let statuses = 0;
for (let i = 0; i < 1000; i++) {
  const { words, slot } = submission;
  const low = buffer.iovaLow + (i % 8) * 512;
  writeIoEntry(words, slot, READ, i & 0x7f, 1, i % 8, 0, 0, 0, low, buffer.iovaHigh, 0, 0);
  submission.post();
  submission.ring();
  while (completion.reap(8) === 0 && queues.isMine);
  statuses |= completion.statuses[0] ?? 0;
  completion.ring();
  if (!queues.isMine) break;
}
const isMine = queues.isMine;
buffer.drop();
if (isMine) queues.giveBack();
parentPort?.postMessage({ statuses, isMine });
