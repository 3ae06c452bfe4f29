/** Rings without a driver above them, used rightly and wrongly, here and in a worker, on an emulated controller. */
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ArgumentError,
  BusyError,
  ClosedError,
  StateError,
  UnsupportedError,
} from "../../../../src/core/errors.js";
import {
  NvmeRegister,
  type RawCompletionQueue,
  type RawSubmissionQueue,
  SQE_WORDS,
  writeIoEntry,
  writeRawEntry,
} from "../../../../src/doors/nvme.js";
import { type NvmeController, NvmeProtocolError } from "../../../../src/index.js";
import { HandedQueues } from "../../../../src/nvme/queues/handed-queues.js";
import { caught } from "../../../support/caught.js";
import { type CompiledTree, compileTree } from "../../../support/compiled.js";
import { openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

const READ = 2;
const FLUSH = 0;

interface Taken {
  readonly cid: number;
  readonly sqid: number;
  readonly status: number;
}

/** Waits for this many completions. */
async function take(queue: RawCompletionQueue, count: number): Promise<Taken[]> {
  const taken: Taken[] = [];
  const { ring } = queue;
  while (taken.length < count) {
    const found = ring.reap(64);
    for (let i = 0; i < found; i++) {
      taken.push({
        cid: ring.cids[i] ?? -1,
        sqid: ring.sqids[i] ?? -1,
        status: (ring.statuses[i] ?? 0) & 0x7ff,
      });
    }
    queue.ringDoorbell();
    if (found === 0) await setTimeout(1);
  }
  return taken;
}

/** An entry with only an opcode, an id and a namespace. */
function post(queue: RawSubmissionQueue, opcode: number, cid: number, nsid = 1): void {
  const entry = new Uint32Array(SQE_WORDS);
  entry[0] = opcode | (cid << 16);
  entry[1] = nsid;
  writeRawEntry(queue.ring.words, queue.ring.slot, entry);
  queue.ring.post();
}

async function pair(nvme: NvmeController, id = 10, entries = 16) {
  const cq = await nvme.rings.createCompletionQueue({ id, entries });
  const sq = await nvme.rings.createSubmissionQueue(cq, { id, entries });
  return { sq, cq };
}

describe("rings", () => {
  test.each(["shared", "messages"] as const)(
    "let three submission queues report to one completion queue, with doorbells %s",
    async (doorbells) => {
      const nvme = await openController({ doorbells });
      const cq = await nvme.rings.createCompletionQueue({ id: 9, entries: 64 });
      const sqs = await Promise.all(
        [20, 21, 22].map((id) => nvme.rings.createSubmissionQueue(cq, { id, entries: 8 })),
      );
      for (const sq of sqs) {
        for (let cid = 0; cid < 5; cid++) post(sq, FLUSH, cid);
        sq.ringDoorbell();
      }
      const taken = await take(cq, 15);
      for (const { id } of sqs) {
        expect(taken.filter(({ sqid }) => sqid === id).map(({ cid }) => cid)).toEqual([0, 1, 2, 3, 4]);
      }
      expect(taken.every(({ status }) => status === 0)).toBe(true);
      // Rejected while a submission queue reports to it.
      expect(await caught(nvme.rings.delete(cq))).toMatchObject({ status: "Invalid Queue Deletion" });
      for (const sq of sqs) await nvme.rings.delete(sq);
      await nvme.rings.delete(cq);
      expect(() => cq.ringWrongly(0)).toThrow(ClosedError);
    },
  );

  test("work beside the driver's own queues", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    randomFillSync(buffer.bytes);
    await ns.write(0n, buffer);
    using target = nvme.dma.alloc(4096);
    const { sq, cq } = await pair(nvme);
    writeIoEntry(sq.ring.words, sq.ring.slot, READ, 7, 1, 0, 0, 7, 0, target.iovaLow, target.iovaHigh, 0, 0);
    sq.ring.post();
    // A stale doorbell: the entry is posted but not announced.
    await setTimeout(50);
    expect(cq.ring.peek()).toBe(-1);
    expect(cq.phaseAt(0)).toBe(0);
    sq.ringDoorbell();
    expect(await take(cq, 1)).toEqual([{ cid: 7, sqid: 10, status: 0 }]);
    // The controller has read one entry of the submission queue (SQHD).
    expect(cq.ring.sqHeads[0]).toBe(1);
    expect(cq.phaseAt(0)).toBe(1);
    expect(Buffer.compare(target.bytes, buffer.bytes)).toBe(0);
    await ns.read(0n, buffer);
  });

  test("pass on the controller's errors, and go on working", async () => {
    const nvme = await openController();
    const { sq, cq } = await pair(nvme);
    // An invalid opcode, a namespace that doesn't exist, a PRP where nothing is mapped.
    post(sq, 0x7f, 1);
    post(sq, FLUSH, 2, 77);
    writeIoEntry(sq.ring.words, sq.ring.slot, READ, 3, 1, 0, 0, 0, 0, 0xdead_0000, 0x7fff, 0, 0);
    sq.ring.post();
    sq.ringDoorbell();
    expect(await take(cq, 3)).toEqual([
      { cid: 1, sqid: 10, status: 0x01 },
      { cid: 2, sqid: 10, status: 0x0b },
      { cid: 3, sqid: 10, status: 0x04 },
    ]);
    // A doorbell beyond the queue's end causes an event.
    const events = nvme.events[Symbol.asyncIterator]();
    const next = events.next();
    sq.ringWrongly(4000);
    expect((await next).value).toMatchObject({ type: "error", info: 1 });
    await events.return?.();
    // With the right value it works.
    sq.ringWrongly(3);
    post(sq, FLUSH, 4);
    sq.ringDoorbell();
    expect(await take(cq, 1)).toEqual([{ cid: 4, sqid: 10, status: 0 }]);
  });

  test("see an old completion as new, and a new one as old, if its phase bit is flipped", async () => {
    const nvme = await openController();
    const { sq, cq } = await pair(nvme);
    post(sq, FLUSH, 1);
    sq.ringDoorbell();
    while (cq.ring.peek() < 0) await setTimeout(1);
    cq.flipPhase(0);
    expect(cq.ring.peek()).toBe(-1);
    cq.flipPhase(0);
    expect(cq.ring.peek()).toBe(0);
    expect(() => cq.flipPhase(16)).toThrow(ArgumentError);
  });

  test("reject invalid arguments", async () => {
    const nvme = await openController();
    const { rings } = nvme;
    const { sq, cq } = await pair(nvme);
    expect(await caught(rings.createCompletionQueue({ id: 10, entries: 8 }))).toBeInstanceOf(BusyError);
    expect(await caught(rings.createCompletionQueue({ id: 0, entries: 8 }))).toBeInstanceOf(ArgumentError);
    expect(await caught(rings.createCompletionQueue({ id: 11, entries: 1 }))).toBeInstanceOf(ArgumentError);
    using small = nvme.dma.alloc(64);
    expect(await caught(rings.createCompletionQueue({ id: 11, entries: 256, memory: small }))).toBeInstanceOf(
      ArgumentError,
    );
    // The driver's own queue has this id.
    expect(await caught(rings.createCompletionQueue({ id: 1, entries: 8 }))).toMatchObject({
      status: "Invalid Queue Identifier",
    });
    expect(() => rings.readRegister(2)).toThrow(ArgumentError);
    expect(() => sq.ringWrongly(-1)).toThrow(ArgumentError);
    await nvme.reset();
    // A reset removes them.
    expect(cq.closed && sq.closed).toBe(true);
    await pair(nvme);
    await nvme.close();
    expect(() => nvme.rings).toThrow(ClosedError);
  });

  test("read and write registers, and the driver notices a controller that was stopped", async () => {
    const nvme = await openController({
      faults: [{ kind: "latency", opcode: FLUSH, latencyMs: 600_000 }],
    });
    const { rings } = nvme;
    expect(rings.readRegister(NvmeRegister.VS)).toBe(0x0002_0000);
    const ns = await nvme.namespace(1);
    const flush = caught(ns.flush());
    rings.writeRegister(NvmeRegister.CC, rings.readRegister(NvmeRegister.CC) & ~1);
    expect(await flush).toBeInstanceOf(NvmeProtocolError);
  });
});

describe("queues handed to a worker", () => {
  let tree: CompiledTree;
  beforeAll(() => {
    tree = compileTree("test/support/ring-worker-main.ts");
  });
  afterAll(() => tree[Symbol.dispose]());

  test("are driven by one thread at a time: there, and after they were given back here", async () => {
    const nvme = await openController();
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(4096);
    randomFillSync(buffer.bytes);
    const written = Buffer.from(buffer.bytes);
    await ns.write(0n, buffer);
    buffer.bytes.fill(0);
    const { sq, cq } = await pair(nvme);
    post(sq, FLUSH, 1);
    sq.ringDoorbell();
    await take(cq, 1);
    for (let round = 0; round < 2; round++) {
      expect(sq.isAway).toBe(false);
      const handed = sq.handOver();
      expect(sq.isAway).toBe(true);
      expect(() => sq.handOver()).toThrow(StateError);
      const program = pathToFileURL(tree.file("test/support/ring-worker-main.ts"));
      const worker = new Worker(program, { workerData: { handed, shared: buffer.share() } });
      const [message] = await once(worker, "message");
      expect(message).toEqual({ statuses: 0, isMine: true });
      expect(() => HandedQueues.take(handed)).toThrow(StateError);
      expect(await caught(nvme.rings.delete(sq))).toBeInstanceOf(BusyError);
      sq.takeBack();
      expect(() => sq.takeBack()).toThrow(StateError);
      await worker.terminate();
    }
    expect(Buffer.compare(buffer.bytes, written)).toBe(0);
    post(sq, FLUSH, 99);
    sq.ringDoorbell();
    expect(await take(cq, 1)).toEqual([{ cid: 99, sqid: 10, status: 0 }]);
    await nvme.rings.delete(sq);
  });

  test("are lost to the worker when the controller closes, and can be taken back if no worker took them", async () => {
    const nvme = await openController();
    const { sq } = await pair(nvme);
    const never = sq.handOver();
    sq.takeBack();
    expect(() => HandedQueues.take(never)).toThrow(StateError);
    const handed = sq.handOver();
    // A wrong message takes nothing: the right one still can.
    expect(() => HandedQueues.take({ ...handed, sqEntryWords: 20 })).toThrow(ArgumentError);
    const queues = HandedQueues.take(handed);
    expect(queues.isMine).toBe(true);
    expect(() => sq.takeBack()).toThrow(BusyError);
    await nvme.close();
    expect(queues.isMine).toBe(false);
    expect(() => queues.giveBack()).toThrow(StateError);
  });

  test("need doorbells in shared memory", async () => {
    const nvme = await openController({ doorbells: "messages" });
    const { sq } = await pair(nvme);
    expect(() => sq.handOver()).toThrow(UnsupportedError);
    const other = await nvme.rings.createSubmissionQueue(sq.completionQueue, { id: 11, entries: 8 });
    expect(() => other.handOver()).toThrow(StateError);
  });
});

describe("a ring that the program holds", () => {
  test("keeps no command waiting when the controller fails, and closes once it is dropped", async () => {
    const nvme = await openController(
      { faults: [{ kind: "fatal", opcode: FLUSH }] },
      { recovery: { attempts: 0 } },
    );
    const queue = await nvme.rings.createCompletionQueue({ id: 7, entries: 16 });
    queue.lease.hold("the test");
    const ns = await nvme.namespace(1);
    expect(await caught(ns.flush())).toBeInstanceOf(NvmeProtocolError);
    expect(nvme.lifecycle.state).toBe("failed");
    expect(queue.closed).toBe(false);
    expect(await caught(nvme.close())).toBeInstanceOf(BusyError);
    queue.lease.drop();
    await nvme.close();
    expect(queue.closed).toBe(true);
  });

  test("keeps no controller from its recovery", async () => {
    const fault = { kind: "fatal", opcode: FLUSH, count: 1 } as const;
    await using nvme = await openController({ faults: [fault] }, { recovery: { attempts: 1 } });
    const queue = await nvme.rings.createCompletionQueue({ id: 7, entries: 16 });
    queue.lease.hold("the test");
    const ns = await nvme.namespace(1);
    await caught(ns.flush());
    await ns.flush();
    expect(nvme.lifecycle.state).toBe("live");
    queue.lease.drop();
    queue.close();
    expect((await nvme.rings.createCompletionQueue({ id: 7, entries: 16 })).id).toBe(7);
  });
});
