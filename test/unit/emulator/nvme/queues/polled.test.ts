/** Tests of a controller that drives itself from the event loop. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { AdminOpcode, IoOpcode } from "../../../../../src/nvme/spec/opcodes.js";
import { NvmeTestHost, SUCCESS, type TestCompletion, type TestQueue } from "../../../../support/nvme-host.js";
import { openDescriptors } from "../../../../support/proc.js";

const flush = { opcode: IoOpcode.flush, nsid: 1 };
const quick = { idleAfterMs: 5, idlePollMs: 2 };

async function completion(queue: TestQueue): Promise<TestCompletion> {
  let taken: TestCompletion | undefined;
  await expect
    .poll(
      () => {
        taken ??= queue.take();
        return taken !== undefined;
      },
      { interval: 1 },
    )
    .toBe(true);
  if (taken === undefined) throw new Error("unreachable");
  return taken;
}

/** An I/O queue pair, created without pumping. */
async function createIo(host: NvmeTestHost, ring: () => void, doorbells: Uint32Array): Promise<TestQueue> {
  const sq = host.alloc(64 * 64);
  const cq = host.alloc(64 * 16);
  for (const [opcode, at, cdw11] of [
    [AdminOpcode.createIoCompletionQueue, cq, 1],
    [AdminOpcode.createIoSubmissionQueue, sq, 0x1_0001],
  ] as const) {
    host.admin.post({ opcode, prp1: host.iova(at), cdw10: (63 << 16) | 1, cdw11 });
    ring();
    expect((await completion(host.admin)).status).toBe(SUCCESS);
    ring();
  }
  return host.queue(1, 64, sq, cq, doorbells);
}

describe("a controller that drives itself", () => {
  test("finds stores to shared doorbells, awake and asleep, and work that is due", async () => {
    using host = new NvmeTestHost(
      { ...quick, faults: [{ kind: "latency", queue: "io", nth: 3, latencyMs: 30 }] },
      true,
    );
    host.enable();
    const io = await createIo(host, () => {}, host.doorbellWords);
    io.post(flush);
    expect((await completion(io)).status).toBe(SUCCESS);
    await sleep(50);
    io.post(flush);
    expect((await completion(io)).status).toBe(SUCCESS);
    io.post(flush);
    expect((await completion(io)).status).toBe(SUCCESS);
  });

  test("sleeps until a message comes, if doorbells are messages", async () => {
    using host = new NvmeTestHost({ ...quick, doorbells: "messages" }, true);
    expect(host.device.bars[0]?.mappable).toEqual([]);
    host.enable();
    const io = await createIo(host, () => host.sendDoorbells(0, 1), host.doorbellWords);
    for (let i = 0; i < 3; i++) {
      io.post(flush);
      await sleep(30);
      expect(io.take()).toBeUndefined();
      host.sendDoorbells(2);
      expect((await completion(io)).status).toBe(SUCCESS);
      host.sendDoorbells(3);
    }
  });

  test("writes its event indexes before it sleeps, if the host has shadow doorbells", async () => {
    using host = new NvmeTestHost({ ...quick, doorbells: "messages" }, true);
    host.enable();
    const shadow = host.alloc(4096);
    const eventIndexes = host.alloc(4096);
    host.admin.post({
      opcode: AdminOpcode.doorbellBufferConfig,
      prp1: host.iova(shadow),
      prp2: host.iova(eventIndexes),
    });
    host.sendDoorbells(0);
    expect((await completion(host.admin)).status).toBe(SUCCESS);
    host.sendDoorbells(1);
    const words = host.ram.words.subarray(shadow / 4, shadow / 4 + 1024);
    const io = await createIo(host, () => host.sendDoorbells(0, 1), words);
    // Awake because of the messages just sent: found without one.
    for (let i = 1; i <= 3; i++) {
      io.post(flush);
      host.write32(0x1008, i);
      expect((await completion(io)).status).toBe(SUCCESS);
    }
    const eventIndex = (): number => host.ram.words[eventIndexes / 4 + 2] ?? 0;
    await expect.poll(eventIndex).toBe(3);
    // Asleep now: what is only in memory stays there until the real doorbell is rung.
    io.post(flush);
    await sleep(30);
    expect(io.take()).toBeUndefined();
    host.write32(0x1008, 4);
    expect((await completion(io)).status).toBe(SUCCESS);
  });

  test("releases everything when it is closed, even while it works", async () => {
    const before = openDescriptors();
    const host = new NvmeTestHost({ ...quick, cmbBytes: 1 << 20 }, true);
    host.enable();
    const io = await createIo(host, () => {}, host.doorbellWords);
    expect(openDescriptors()).toBeGreaterThan(before);
    io.post(flush);
    host.device.close();
    await sleep(20);
    expect(io.take()).toBeUndefined();
    host.close();
    expect(openDescriptors()).toBe(before);
  });
});
