/**
 * Doorbells: right, stale and beyond the queue. NVMe over PCIe Transport, "Submission Queue y Tail Doorbell"; NVMe Base, "Asynchronous
 * Event Information: Error Status".
 */
import { AdminOpcode, AsyncEventInfo, AsyncEventType } from "iova/nvme";
import { Bench, claim, entryOf, post, take } from "./bench.js";

const FLUSH = entryOf({ opcode: 0, nsid: 1 });

await using bench = await Bench.open();
const admin = await bench.start();
const sq = await bench.pair(admin, { id: 1, sqEntries: 8, cqEntries: 32 });
const cq = sq.completionQueue;

// Where it is: doorbells are `4 << CAP.DSTRD` bytes apart from 1000h on, two for each queue id.
const { doorbellStrideBytes: stride } = bench.raw.capabilities;
claim("the tail doorbell of queue 1 is the third", sq.doorbellIndex * 4 === 2 * stride);
claim("the head doorbell of queue 1 is the fourth", cq.doorbellIndex * 4 === 3 * stride);

// Right: one write announces all that were posted.
for (let i = 0; i < 5; i++) post(sq, FLUSH);
claim("posted commands without a doorbell aren't executed", (await take(cq, 50)) === undefined);
sq.ringDoorbell();
const heads: (number | undefined)[] = [];
for (let i = 0; i < 5; i++) heads.push((await take(cq))?.sqHead);
claim("one doorbell announces five commands", !heads.includes(undefined), heads.join());
cq.ringDoorbell();

// Stale: the same value again says nothing new.
sq.ringWrongly(5);
claim("the value that it has already starts nothing", (await take(cq, 50)) === undefined);

// A tail that goes round: 5 to 2 is entries 5, 6, 7, 0 and 1.
for (let i = 0; i < 5; i++) post(sq, FLUSH);
sq.ringDoorbell();
for (let i = 0; i < 4; i++) await take(cq);
claim("a tail below the head goes round the end", (await take(cq))?.sqHead === 2, sq.ring.position);
cq.ringDoorbell();

// Beyond: a value that the queue doesn't have is an event, if the host asked for events.
post(admin, entryOf({ opcode: AdminOpcode.asyncEventRequest, cid: 77 }));
admin.ringDoorbell();
claim(
  "an Asynchronous Event Request stays outstanding",
  (await take(admin.completionQueue, 50)) === undefined,
);
sq.ringWrongly(8);
const event = await take(admin.completionQueue);
admin.completionQueue.ringDoorbell();
const [type, info] = [(event?.dw0 ?? 0) & 7, ((event?.dw0 ?? 0) >>> 8) & 0xff];
claim("a tail of 8 in a queue of 8 is reported", event?.cid === 77, event?.dw0.toString(16));
claim(
  "as an error: Invalid Doorbell Write Value",
  type === AsyncEventType.error && info === AsyncEventInfo.error.invalidDoorbellValue,
  `${type}, ${info}`,
);

// The controller goes on, and is stopped by its reset.
claim("CSTS.CFS stays 0", (bench.bar.read32(0x1c) & 2) === 0);
