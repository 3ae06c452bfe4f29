/**
 * Freeing completion queue entries: the head doorbell gives them back. Without it the controller fills the queue, stops, and goes on
 * when there is room. NVMe Base, "Completion Queue: Full Queue"; a full queue has one entry free.
 */
import { Bench, claim, entryOf, post, take } from "./bench.js";

/** Of the completion queue; one stays free. */
const ENTRIES = 4;
const COMMANDS = 9;

await using bench = await Bench.open();
const admin = await bench.start();
const sq = await bench.pair(admin, { id: 1, sqEntries: 16, cqEntries: ENTRIES });
const cq = sq.completionQueue;
for (let cid = 0; cid < COMMANDS; cid++) post(sq, entryOf({ opcode: 0, nsid: 1, cid }));
sq.ringDoorbell();

// Take without giving back: the entries still belong to the host.
const cids: number[] = [];
const takeSome = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) {
    const found = await take(cq);
    if (found !== undefined) cids.push(found.cid);
  }
};
/** Whether the controller, for a while, posts nothing. */
const isQuiet = async (): Promise<boolean> => (await take(cq, 100)) === undefined;

await takeSome(ENTRIES - 1);
claim(
  `a queue of ${ENTRIES} entries holds ${ENTRIES - 1} completions`,
  cids.length === ENTRIES - 1,
  cids.join(),
);
claim("no completion is written over one that the host hasn't given back", await isQuiet());

// The doorbell by hand: the index of the first entry that the host keeps. One entry back, one completion more.
cq.ringWrongly(1);
await takeSome(1);
claim("an entry that is given back makes room for one", cids.length === ENTRIES, cids.join());
claim("and for no more", await isQuiet());

// The rest, as many at a time as there is room for.
while (cids.length < COMMANDS) {
  cq.ringWrongly(cq.ring.position.head);
  await takeSome(Math.min(ENTRIES - 1, COMMANDS - cids.length));
}
// In any order: a controller may complete commands as it likes.
claim(
  "all commands complete once there is room",
  [...cids].sort().join() === "0,1,2,3,4,5,6,7,8",
  cids.join(),
);
claim("each of them exactly once", await isQuiet());
cq.ringWrongly(cq.ring.position.head);

// A head beyond what the controller has written, or beyond the queue, is an error of the host. It is reported by an event, as in
// 08-doorbells.ts. The controller itself stays well.
claim("CSTS.CFS stays 0", (bench.bar.read32(0x1c) & 2) === 0);
