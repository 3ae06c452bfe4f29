/**
 * A completion queue entry word by word. NVMe Base, "Common Completion Queue Entry".
 *
 *   word 0   dword 0, each command's own result
 *   word 2   head of the submission queue (15:0), id of the submission queue (31:16)
 *   word 3   command id (15:0), phase (16), status: code (24:17), code type (27:25), CRD (29:28), M (30), DNR (31)
 */
import { AdminOpcode, FeatureId, NvmeStatus, StatusCodeType } from "iova/nvme";
import { Bench, claim, entryOf, post, take, until } from "./bench.js";

await using bench = await Bench.open();
const admin = await bench.start(8);
const { ring } = admin.completionQueue;

/** Sends a command, and returns the four words of its completion. */
async function words(entry: Uint32Array): Promise<readonly [number, number, number, number]> {
  post(admin, entry);
  admin.ringDoorbell();
  if (!(await until(() => ring.peek() >= 0))) throw new Error("no completion");
  const at = ring.peek();
  const [dw0 = 0, dw1 = 0, dw2 = 0, dw3 = 0] = ring.words.slice(at, at + 4);
  ring.take();
  admin.completionQueue.ringDoorbell();
  return [dw0, dw1, dw2, dw3];
}

// Get Features (Number of Queues): dword 0 holds the result.
const queues = entryOf({ opcode: AdminOpcode.getFeatures, cid: 3, cdw10: FeatureId.numberOfQueues });
const [dw0, , dw2, dw3] = await words(queues);
claim(
  "dword 0 holds the number of queues, both zero-based",
  (dw0 & 0xffff) < 0xffff && dw0 >>> 16 < 0xffff,
  `${(dw0 & 0xffff) + 1}, ${(dw0 >>> 16) + 1}`,
);
claim("the submission queue's id is 0", dw2 >>> 16 === 0);
claim("its head is 1: the controller has taken 1 entry", (dw2 & 0xffff) === 1, dw2 & 0xffff);
claim("the command id is 3, the phase 1, the status 0", dw3 === (3 | (1 << 16)), dw3.toString(16));

// The head goes round with the queue of 8.
const heads: number[] = [];
for (let i = 0; i < 9; i++) heads.push((await words(queues))[2] & 0xffff);
claim("the head goes round: 2 to 7, 0, 1, 2", heads.join() === "2,3,4,5,6,7,0,1,2", heads.join());
claim("the phase is 0 in the second pass", ring.position.phase === 0);

// An error: code, code type, and whether it helps to repeat the command.
const [, , , error] = await words(entryOf({ opcode: 0x7f, cid: 4 }));
const [code, type] = [(error >>> 17) & 0xff, (error >>> 25) & 7];
claim(
  "an unknown opcode has status code type 0 and code 1",
  type === StatusCodeType.generic && code === NvmeStatus.invalidOpcode,
  `${type}, ${code}`,
);
console.log(
  `  M ${(error >>> 30) & 1} (the Error Information log says more), DNR ${error >>> 31} (to repeat it is useless)`,
);

// A command specific code: a submission queue that there isn't.
const [, , , specific] = await words(entryOf({ opcode: AdminOpcode.deleteIoSubmissionQueue, cdw10: 99 }));
claim(
  "a queue that there isn't is status code type 1, code 1: Invalid Queue Identifier",
  ((specific >>> 17) & 0x7ff) === NvmeStatus.invalidQueueIdentifier,
  ((specific >>> 17) & 0x7ff).toString(16),
);
claim("nothing else came", (await take(admin.completionQueue, 50)) === undefined);
