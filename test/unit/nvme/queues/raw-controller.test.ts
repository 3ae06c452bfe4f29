/** An emulated controller that no driver starts: registers, the admin queue and an I/O queue by hand. */
import { setTimeout } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { ArgumentError, ClosedError, StateError, UnsupportedError } from "../../../../src/core/errors.js";
import {
  ControllerConfig,
  ControllerStatus,
  NvmeRegister,
  type RawCompletionQueue,
  RawController,
  type RawSubmissionQueue,
  SQE_WORDS,
  writeRawEntry,
} from "../../../../src/doors/nvme.js";
import type { NvmeEmulatorOptions } from "../../../../src/emulator/nvme/options.js";
import { type DmaBuffer, NvmeController, PciDevice } from "../../../../src/index.js";
import { startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

const PAGE = 4096;
const IDENTIFY = 0x06;
const CREATE_SQ = 0x01;
const CREATE_CQ = 0x05;

async function openDevice(options: NvmeEmulatorOptions = {}): Promise<PciDevice> {
  return PciDevice.open((await startController(options)).address);
}

/** Sends the fields of an entry, and waits for its completion. @returns status, SQHD, SQID and CID */
async function send(
  sq: RawSubmissionQueue,
  fields: Readonly<Record<number, number>>,
): Promise<{ status: number; sqHead: number; sqid: number; cid: number }> {
  const entry = new Uint32Array(SQE_WORDS);
  for (const [word, value] of Object.entries(fields)) entry[Number(word)] = value;
  writeRawEntry(sq.ring.words, sq.ring.slot, entry);
  sq.ring.post();
  sq.ringDoorbell();
  const cq: RawCompletionQueue = sq.completionQueue;
  let at = cq.ring.peek();
  for (; at < 0; at = cq.ring.peek()) await setTimeout(1);
  const [dw2 = 0, dw3 = 0] = cq.ring.words.subarray(at + 2, at + 4);
  cq.ring.take();
  cq.ringDoorbell();
  return { status: dw3 >>> 17, sqHead: dw2 & 0xffff, sqid: dw2 >>> 16, cid: dw3 & 0xffff };
}

async function waitForReady(device: PciDevice, ready: 0 | 1): Promise<void> {
  const bar = device.bar(0);
  while ((bar.read32(NvmeRegister.CSTS) & ControllerStatus.RDY) !== ready) await setTimeout(1);
}

/** The steps of a controller's start, by hand. */
async function start(raw: RawController, entries = 16): Promise<RawSubmissionQueue> {
  const { device } = raw;
  const bar = device.bar(0);
  device.config.busMaster = true;
  bar.write32(NvmeRegister.CC, 0);
  await waitForReady(device, 0);
  const cq = raw.completionQueue({ id: 0, entries });
  const sq = raw.submissionQueue(cq, { id: 0, entries });
  bar.write32(NvmeRegister.AQA, ((entries - 1) << 16) | (entries - 1));
  bar.write64(NvmeRegister.ASQ, sq.memory.iova);
  bar.write64(NvmeRegister.ACQ, cq.memory.iova);
  const sizes = (6 << ControllerConfig.IOSQES_SHIFT) | (4 << ControllerConfig.IOCQES_SHIFT);
  bar.write32(NvmeRegister.CC, sizes | ControllerConfig.EN);
  await waitForReady(device, 1);
  return sq;
}

const address = ({ iovaLow, iovaHigh }: DmaBuffer) => ({ 6: iovaLow, 7: iovaHigh });

describe("a raw controller", () => {
  test.each(["shared", "messages"] as const)(
    "identifies itself on an admin queue that was set up by hand, round the ring's end, with doorbells %s",
    async (doorbells) => {
      using device = await openDevice({ doorbells });
      using raw = RawController.on(device);
      using page = device.dma.alloc(PAGE);
      expect(raw.capabilities).toMatchObject({ maxQueueEntries: 4096, contiguousQueues: true });
      const admin = await start(raw, 4);
      for (let cid = 100; cid < 110; cid++) {
        page.bytes.fill(0);
        const got = await send(admin, { 0: IDENTIFY | (cid << 16), ...address(page), 10: 1 });
        expect(got).toEqual({ status: 0, sqHead: (cid - 99) % 4, sqid: 0, cid });
        expect(Buffer.from(page.bytes.subarray(4, 12)).toString()).toBe("IOVA0001");
      }
    },
  );

  test("writes no register by itself, neither at the beginning nor when a ring is made", async () => {
    using device = await openDevice();
    using raw = RawController.on(device);
    raw.submissionQueue(raw.completionQueue({ id: 0, entries: 2 }), { id: 0, entries: 2 });
    const bar = device.bar(0);
    for (const offset of [NvmeRegister.CC, NvmeRegister.CSTS, NvmeRegister.AQA, NvmeRegister.ASQ])
      expect(bar.read32(offset)).toBe(0);
    expect(device.config.busMaster).toBe(false);
  });

  test("is refused on a device that has a driver, whose bus mastering stays on", async () => {
    await using nvme = await NvmeController.open((await startController()).address);
    expect(() => RawController.on(nvme.device)).toThrow(StateError);
    expect(() => RawController.on(nvme.device)).toThrow("already has an NvmeController: close it first");
    expect(nvme.device.config.busMaster).toBe(true);
    using device = await openDevice();
    const first = RawController.on(device);
    expect(() => RawController.on(device)).toThrow("already has a RawController");
    first.close();
    using second = RawController.on(device);
    expect(second.capabilities.maxQueueEntries).toBe(4096);
  });

  test("has I/O queues whose memory is the tester's, also where no controller takes it", async () => {
    using device = await openDevice();
    using memory = device.dma.alloc(3 * PAGE);
    using raw = RawController.on(device);
    const admin = await start(raw);
    const cq = raw.completionQueue({ id: 1, entries: 8, memory });
    const queue = { 10: (7 << 16) | 1, 11: 1 };
    // PRP Offset Invalid: a queue starts at a page.
    const shifted = await send(admin, { 0: CREATE_CQ, ...address(memory), 6: memory.iovaLow + 64, ...queue });
    expect(shifted.status & 0x7ff).toBe(0x13);
    const { status } = await send(admin, { 0: CREATE_CQ, ...address(memory), ...queue });
    expect(status).toBe(0);
    const sq = raw.submissionQueue(cq, { id: 1, entries: 8 });
    const { iovaLow, iovaHigh } = sq.memory;
    const created = await send(admin, {
      0: CREATE_SQ,
      6: iovaLow,
      7: iovaHigh,
      10: (7 << 16) | 1,
      11: 0x10001,
    });
    expect(created.status).toBe(0);
    // Flush.
    expect(await send(sq, { 0: 0x0007_0000, 1: 1 })).toEqual({ status: 0, sqHead: 1, sqid: 1, cid: 7 });
    expect(() => memory.close()).toThrow("completion queue");
  });

  test("reports a doorbell value beyond the queue by an event, and its closed rings are closed", async () => {
    using device = await openDevice();
    using raw = RawController.on(device);
    const admin = await start(raw);
    const event = send(admin, { 0: 0x0c });
    await setTimeout(20);
    admin.ringWrongly(999);
    expect(await event).toMatchObject({ status: 0, cid: 0 });
    raw.close();
    expect(admin.closed).toBe(true);
    expect(device.config.busMaster).toBe(false);
    expect(() => raw.completionQueue({ id: 0, entries: 2 })).toThrow(ClosedError);
  });

  test("gives the controller memory buffer an address, and a ring can lie there", async () => {
    using device = await openDevice({ cmbBytes: 1 << 20 });
    using raw = RawController.on(device);
    const cmb = raw.controllerMemoryBuffer();
    expect(raw.controllerMemoryBuffer()).toBe(cmb);
    using memory = cmb.alloc(PAGE);
    using ring = raw.completionQueue({ id: 1, entries: 4, memory });
    expect(ring.memory).toBe(memory);
  });

  test("rejects what is no device, another space's memory and memory that is too short", async () => {
    using device = await openDevice();
    using raw = RawController.on(device);
    using other = await openDevice();
    using foreign = other.dma.alloc(PAGE);
    using short = device.dma.alloc(PAGE);
    expect(() => raw.controllerMemoryBuffer()).toThrow(UnsupportedError);
    // @ts-expect-error: checked at run time
    expect(() => RawController.on({})).toThrow("device must be a PciDevice, got");
    // @ts-expect-error: checked at run time
    expect(() => raw.submissionQueue({}, { id: 0, entries: 2 })).toThrow("must come from completionQueue()");
    for (const memory of [foreign, short])
      expect(() => raw.completionQueue({ id: 1, entries: 512, memory })).toThrow(ArgumentError);
    expect(() => raw.completionQueue({ id: 0x1_0000, entries: 2 })).toThrow("id must be");
    expect(() => raw.completionQueue({ id: 0, entries: 1 })).toThrow("entries must be");
    expect(raw.device).toBe(device);
  });
});
