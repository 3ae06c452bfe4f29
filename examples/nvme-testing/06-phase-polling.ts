/**
 * Phase polling: how a host finds new completions without a register access. Each pass of the controller round the ring writes the other
 * phase, so an entry is new when its phase is the one of this pass. NVMe Base, "Completion Queue Entry: Phase Tag".
 */
import { Bench, claim, entryOf, post, until } from "./bench.js";

const ENTRIES = 4;
/** Get Features (Number of Queues): it takes no data. */
const COMMAND = entryOf({ opcode: 0x0a, cdw10: 7 });

await using bench = await Bench.open();
const admin = await bench.start(ENTRIES);
const cq = admin.completionQueue;
const { words } = cq.ring;
const phases = (): string => Array.from({ length: ENTRIES }, (_, index) => cq.phaseAt(index)).join("");

claim(
  "before the first command all phases are 0, as the host has zeroed them",
  phases() === "0000",
  phases(),
);

// Poll word 3 of the entry at the head by hand: two passes and a half.
let [head, expected] = [0, 1];
const seen: string[] = [];
for (let i = 0; i < 10; i++) {
  post(admin, COMMAND);
  admin.ringDoorbell();
  const isNew = (): boolean => (((words[head * 4 + 3] ?? 0) >>> 16) & 1) === expected;
  if (!(await until(isNew))) throw new Error(`no completion at ${head} with phase ${expected}`);
  cq.ring.take();
  head += 1;
  if (head === ENTRIES) {
    head = 0;
    expected ^= 1;
  }
  seen.push(phases());
  cq.ringDoorbell();
}
claim(
  "the first pass writes 1",
  seen.slice(0, 4).join(" ") === "1000 1100 1110 1111",
  seen.slice(0, 4).join(" "),
);
claim(
  "the second pass writes 0",
  seen.slice(4, 8).join(" ") === "0111 0011 0001 0000",
  seen.slice(4, 8).join(" "),
);
claim("the third pass writes 1", seen.slice(8).join(" ") === "1000 1100", seen.slice(8).join(" "));

// The library's ring does the same: its position is the head and the phase that a new entry has there.
claim("the ring expects phase 1 at entry 2", cq.ring.position.head === 2 && cq.ring.position.phase === 1);

// What a wrong phase does: the host takes an old entry for a new one.
claim("there is no new entry", cq.ring.peek() < 0);
cq.flipPhase(2);
claim("an old entry with the other phase looks new", cq.ring.peek() >= 0);
