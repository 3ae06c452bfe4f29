/**
 * What goes wrong, on purpose: the embedded controller is ordered to have a fault, and the bench sees it. It takes no TARGET, and starts the
 * embedded controller. docs/emulator.md lists its faults.
 */
import type { FaultOptions } from "iova/emulator";
import { AdminOpcode } from "iova/nvme";
import { Bench, type Completion, claim, entryOf, post, take, until } from "./bench.js";

/** How long to look for what mustn't come. */
const QUIET_MS = 200;

await using bench = await Bench.open({}, undefined);
const { emulator } = bench;
if (emulator === undefined)
  throw new Error("this example takes no controller: it orders faults of the embedded one");
let admin = await bench.start();
const page = bench.alloc(4096);

/** Identify with command id 5 under a fault. @param expected completions to wait for @returns all that came */
async function identifyWith(fault: FaultOptions, expected = 1): Promise<Completion[]> {
  await emulator?.order({ kind: "clearFaults" });
  await emulator?.order({ kind: "inject", fault });
  page.bytes.fill(0);
  post(admin, entryOf({ opcode: AdminOpcode.identify, cid: 5, prp1: page.iova, cdw10: 1 }));
  admin.ringDoorbell();
  const found: Completion[] = [];
  for (;;) {
    const each = await take(admin.completionQueue, found.length < expected ? undefined : QUIET_MS);
    if (each === undefined) break;
    found.push(each);
  }
  admin.completionQueue.ringDoorbell();
  return found;
}
const serial = (): string => Buffer.from(page.view(4, 8)).toString();

const well = await identifyWith({
  kind: "latency",
  latencyMs: 20,
  opcode: AdminOpcode.identify,
  queue: "admin",
});
claim(
  "latency: the completion comes later, and is right",
  well.length === 1 && well[0]?.cid === 5 && serial() === "IOVA0001",
);
const status = await identifyWith({ kind: "status", status: 0x006 });
claim("status: an Internal Error, and no data", status[0]?.status === 6 && serial() !== "IOVA0001");
const twice = await identifyWith({ kind: "duplicate-cid" }, 2);
claim(
  "duplicate-cid: one command, two completions",
  twice.length === 2 && twice.every(({ cid }) => cid === 5),
);
const unknown = await identifyWith({ kind: "unknown-cid" });
claim(
  "unknown-cid: a completion for a command that nobody sent",
  unknown[0]?.cid === 0x8005,
  unknown[0]?.cid,
);
const wrongSq = await identifyWith({ kind: "wrong-sqid" });
claim("wrong-sqid: a completion that names another queue", wrongSq[0]?.sqid === 1, wrongSq[0]?.sqid);
await identifyWith({ kind: "short-data", bytes: 4 });
claim("short-data: a success with 4 bytes of data", serial().startsWith("\0"));
const corrupt = await identifyWith({ kind: "corrupt-data" });
claim("corrupt-data: a success with wrong data", corrupt[0]?.status === 0);
const dropped = await identifyWith({ kind: "drop" }, 0);
claim(
  "drop: the data are there, the completion isn't",
  dropped.length === 0 && (await until(() => serial() === "IOVA0001")),
);
const unseen = await identifyWith({ kind: "wrong-phase" }, 0);
claim("wrong-phase: the completion is there, and polling doesn't see it", unseen.length === 0);

// A fatal status needs a reset.
await identifyWith({ kind: "fatal" }, 0);
claim("fatal: CSTS.CFS is 1", await until(() => (bench.bar.read32(0x1c) & 2) !== 0));
await emulator.order({ kind: "clearFaults" });
admin = await bench.start();
claim("a reset ends it", (bench.bar.read32(0x1c) & 3) === 1);
await identifyWith({ kind: "all-ones" }, 0);
claim(
  "all-ones: a device that has gone reads as ones",
  await until(() => bench.bar.read32(0x1c) === 0xffff_ffff),
);
await emulator.order({ kind: "clearFaults" });
await bench.stop();
page.close();
