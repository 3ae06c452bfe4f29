/**
 * The queue pair against a controller played by hand: it reads and writes the same memory and doorbells as a real one,
 * and does what a real one in the guest can't be made to do (answer out of order, late, twice or never).
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { EventEmitter, once } from "node:events";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { BusyError, ClosedError, TimeoutError } from "../../../../src/core/errors.js";
import { Lease } from "../../../../src/core/lifetime/lease.js";
import type { DmaBuffer } from "../../../../src/dma/buffer.js";
import { type Iova, type IovaRange, iova } from "../../../../src/dma/iova/address.js";
import type { DmaMapper } from "../../../../src/dma/mapper.js";
import { type AllocOptions, DmaSpace } from "../../../../src/dma/space.js";
import type { NvmeCommand } from "../../../../src/nvme/command/command.js";
import { NvmeError, NvmeProtocolError } from "../../../../src/nvme/command/error.js";
import { QueuePair, type QueuePairOptions } from "../../../../src/nvme/queues/queue-pair.js";
import { walkPrps } from "../../../support/prp-walker.js";

// A busy machine is no failure.
vi.setConfig({ testTimeout: 60_000 });

const ID = 2;
/** Two words between doorbells, as a controller with CAP.DSTRD 1 has them. */
const STRIDE_WORDS = 2;
const SQ_DOORBELL = 2 * ID * STRIDE_WORDS;
const CQ_DOORBELL = SQ_DOORBELL + STRIDE_WORDS;
const UNTOUCHED = 0xdead_beef;
const PAGE = 4096;

/** Gives out addresses one after the other from a place of the test's choice. */
class CountingMapper implements DmaMapper {
  readonly name = "counting";
  readonly lease = new Lease("counting mapper", () => {});

  constructor(private next: bigint) {}

  iovaRanges(): IovaRange[] {
    return [{ start: iova(0n), last: iova(2n ** 64n - 1n) }];
  }

  alignmentBytes(): number {
    return PAGE;
  }

  map(_address: number, sizeBytes: number): Iova {
    const at = this.next;
    this.next += BigInt(sizeBytes);
    return iova(at);
  }

  unmap(): void {}
}

/** A DMA space that can be looked into from the device's side. */
class VisibleSpace extends DmaSpace {
  private readonly buffers: DmaBuffer[] = [];

  override alloc(sizeBytes: number, options?: AllocOptions): DmaBuffer {
    const buffer = super.alloc(sizeBytes, options);
    this.buffers.push(buffer);
    return buffer;
  }

  /** What a device reads at an address. */
  read(address: bigint, length: number): Uint8Array {
    for (const buffer of this.buffers) {
      const offset = address - buffer.iova;
      if (offset >= 0n && offset < BigInt(buffer.memory.sizeBytes)) {
        return buffer.memory.bytes.subarray(Number(offset), Number(offset) + length);
      }
    }
    throw new Error(`nothing is mapped at 0x${address.toString(16)}`);
  }

  readEntry(address: bigint): bigint {
    const bytes = this.read(address, 8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  }
}

/** A submission queue entry as a controller reads it. */
interface Fetched {
  readonly opcode: number;
  readonly cid: number;
  readonly nsid: number;
  readonly prp1: bigint;
  readonly prp2: bigint;
  readonly dwords: readonly number[];
}

/** The controller's end of a queue pair. */
class Device {
  private sqHead = 0;
  private cqTail = 0;
  private phase = 1;

  constructor(
    private readonly queue: QueuePair,
    private readonly doorbells: Uint32Array,
    private readonly entries: number,
  ) {}

  /** All commands that the doorbell announced since the last look. */
  fetch(): Fetched[] {
    const found: Fetched[] = [];
    const tail = this.doorbells[SQ_DOORBELL] ?? 0;
    if (tail === UNTOUCHED) return found;
    const { words } = this.queue.sqMemory.memory;
    while (this.sqHead !== tail) {
      const dwords = [...words.subarray(this.sqHead * 16, this.sqHead * 16 + 16)];
      const dword = (index: number): number => dwords[index] ?? 0;
      const wide = (index: number): bigint => BigInt(dword(index)) | (BigInt(dword(index + 1)) << 32n);
      found.push({
        opcode: dword(0) & 0xff,
        cid: dword(0) >>> 16,
        nsid: dword(1),
        prp1: wide(6),
        prp2: wide(8),
        dwords,
      });
      this.sqHead = (this.sqHead + 1) % this.entries;
    }
    return found;
  }

  complete(cid: number, statusField = 0, dw0 = 0, dw1 = 0): void {
    const { words } = this.queue.cqMemory.memory;
    const at = this.cqTail * 4;
    words.set([dw0, dw1, (ID << 16) | this.sqHead], at);
    words[at + 3] = ((statusField << 17) | (this.phase << 16) | cid) >>> 0;
    this.cqTail = (this.cqTail + 1) % this.entries;
    if (this.cqTail === 0) this.phase ^= 1;
  }
}

interface Setup {
  readonly space: VisibleSpace;
  readonly queue: QueuePair;
  readonly device: Device;
  readonly doorbells: Uint32Array;
  readonly failures: Error[];
}

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function setUp(options: Partial<QueuePairOptions> & { firstIova?: bigint } = {}): Setup {
  const { firstIova = 0x1000n, entries = 8, ...rest } = options;
  const mapper = new CountingMapper(firstIova);
  const space = new VisibleSpace(mapper);
  const doorbells = new Uint32Array(16).fill(UNTOUCHED);
  const failures: Error[] = [];
  const queue = new QueuePair({
    id: ID,
    entries,
    space,
    doorbells,
    doorbellStrideWords: STRIDE_WORDS,
    pageBytes: PAGE,
    maxTransferBytes: 64 * 1024,
    mode: "interrupt",
    timeoutMs: 30_000,
    onFailure: (error) => failures.push(error),
    onTick: () => {},
    ...rest,
  });
  cleanups.push(() => {
    queue.fail(new ClosedError("the test's queue pair"));
    queue.close();
    space.close();
    mapper.lease.close();
  });
  return { space, queue, device: new Device(queue, doorbells, entries), doorbells, failures };
}

const command = (cdw10: number): NvmeCommand => ({ opcode: 0x7e, nsid: 1, cdw10 });

/** How promises stand now, without waiting for any. */
async function settled(promises: readonly Promise<unknown>[]): Promise<string[]> {
  const states = promises.map(() => "pending");
  promises.forEach((promise, i) => {
    promise.then(
      () => {
        states[i] = "resolved";
      },
      () => {
        states[i] = "rejected";
      },
    );
  });
  await setImmediate();
  return states;
}

describe("commands", () => {
  test("reach the queue as they are, in the order of submission", async () => {
    const { queue, device } = setUp();
    const words = {
      cdw2: 2,
      cdw3: 3,
      cdw10: 10,
      cdw11: 11,
      cdw12: 12,
      cdw13: 13,
      cdw14: 14,
      cdw15: 0xffff_ffff,
    };
    const first = queue.submit({ opcode: 0xfe, nsid: 0xffff_fffe, ...words });
    const second = queue.submit({ opcode: 0x01 });
    await Promise.resolve();
    const [a, b] = device.fetch();
    expect(a).toMatchObject({ opcode: 0xfe, nsid: 0xffff_fffe, prp1: 0n, prp2: 0n });
    expect(a?.dwords.slice(2)).toEqual(
      [2, 3, 0, 0, 0, 0, 0, 0, 10, 11, 12, 13, 14, 15].with(13, 0xffff_ffff),
    );
    expect(b).toMatchObject({ opcode: 0x01, nsid: 0 });
    // Nothing of an earlier user of the slot stays behind.
    expect(b?.dwords.slice(1).every((word) => word === 0)).toBe(true);
    expect(a?.cid).not.toBe(b?.cid);
    device.complete(a?.cid ?? -1, 0, 1, 2);
    device.complete(b?.cid ?? -1, 0, 3, 0xffff_ffff);
    expect(queue.reap()).toBe(2);
    expect(await first).toEqual({ dw0: 1, dw1: 2 });
    expect(await second).toEqual({ dw0: 3, dw1: 0xffff_ffff });
  });

  test("without data carry no address of an earlier user of their slot", async () => {
    const { queue, device, space } = setUp({ entries: 2 });
    using buffer = space.alloc(2 * PAGE);
    const found: (readonly [bigint, bigint])[] = [];
    for (const data of [{ buffer }, { buffer }, undefined, undefined]) {
      const promise = queue.submit({ opcode: 1, data });
      await Promise.resolve();
      for (const { cid, prp1, prp2 } of device.fetch()) {
        found.push([prp1, prp2]);
        device.complete(cid);
      }
      queue.reap();
      await promise;
    }
    const both = [buffer.iova, buffer.iova + BigInt(PAGE)];
    expect(found).toEqual([both, both, [0n, 0n], [0n, 0n]]);
  });

  test("all of one turn share a doorbell store", async () => {
    const { queue, device, doorbells } = setUp();
    const promises = Array.from({ length: 5 }, (_, i) => queue.submit(command(i)));
    expect(doorbells[SQ_DOORBELL]).toBe(UNTOUCHED);
    await Promise.resolve();
    expect(doorbells[SQ_DOORBELL]).toBe(5);
    expect(doorbells[CQ_DOORBELL]).toBe(UNTOUCHED);
    for (const { cid } of device.fetch()) device.complete(cid);
    queue.reap();
    expect(doorbells[CQ_DOORBELL]).toBe(5);
    await Promise.all(promises);
    const others = [...doorbells].filter((_, index) => index !== SQ_DOORBELL && index !== CQ_DOORBELL);
    expect(others.every((word) => word === UNTOUCHED)).toBe(true);
  });

  test("may complete in any order: each answer goes to who asked", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 9 }),
        fc.array(fc.nat(), { minLength: 1, maxLength: 60 }),
        async (entries, choices) => {
          const { queue, device } = setUp({ entries });
          const promises = choices.map((_, i) => queue.submit(command(i)));
          const inHand: Fetched[] = [];
          for (const choice of choices) {
            // The answer to a completion may be the next command of the waiting line.
            await Promise.resolve();
            inHand.push(...device.fetch());
            expect(inHand.length).toBeLessThanOrEqual(entries - 1);
            expect(new Set(inHand.map(({ cid }) => cid)).size).toBe(inHand.length);
            const [one] = inHand.splice(choice % inHand.length, 1);
            device.complete(one?.cid ?? -1, 0, one?.dwords[10]);
            queue.reap();
          }
          const answers = await Promise.all(promises);
          expect(answers.map(({ dw0 }) => dw0)).toEqual(choices.map((_, i) => i));
        },
      ),
      { numRuns: 100 },
    );
  });

  test("beyond the queue's depth wait their turn, first come first served", async () => {
    const { queue, device } = setUp({ entries: 4 });
    const promises = Array.from({ length: 10 }, (_, i) => queue.submit(command(i)));
    const seen: (number | undefined)[] = [];
    for (let round = 0; seen.length < 10; round++) {
      await Promise.resolve();
      const fetched = device.fetch();
      expect(fetched.length).toBe(round === 3 ? 1 : 3);
      expect(queue.outstanding).toBe(fetched.length);
      seen.push(...fetched.map(({ dwords }) => dwords[10]));
      for (const { cid } of fetched) device.complete(cid);
      queue.reap();
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await Promise.all(promises);
    expect(queue.outstanding).toBe(0);
  });

  test("an error status rejects with what was asked and the status", async () => {
    const { queue, device } = setUp();
    const promise = queue.submit({ opcode: 2, name: "read", nsid: 1, cdw10: 16, cdw12: 7 });
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1, 0x4080);
    queue.reap();
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(NvmeError);
    expect(error).toMatchObject({ statusCodeType: 0, statusCode: 0x80, doNotRetry: true, more: false });
    expect(error).toMatchObject({
      message: "read (nsid 0x1, cdw10 0x10, cdw12 0x7): LBA Out of Range (Generic Command Status 0x80)",
    });
  });
});

describe("data", () => {
  test("is found by the controller wherever the buffer lies, also across 4 GiB", async () => {
    const maxTransferBytes = 64 * 1024;
    await fc.assert(
      fc.asyncProperty(
        // The queues and lists come first; the buffer then lies before, across or behind the boundary.
        fc.integer({ min: 0, max: 150 }),
        fc.integer({ min: 0, max: 16 * 1024 - 1 }).map((dword) => dword * 4),
        fc.integer({ min: 1, max: maxTransferBytes }),
        async (pagesBefore, offset, length) => {
          const firstIova = 2n ** 32n - BigInt(pagesBefore * PAGE);
          const { queue, device, space } = setUp({ firstIova, entries: 4, maxTransferBytes });
          using buffer = space.alloc(2 * maxTransferBytes);
          buffer.memory.words.forEach((_, i, words) => {
            words[i] = i;
          });
          // Side by side, each with another part of the buffer: every slot has list pages of its own.
          const offsets = [offset, (offset + 4 * PAGE + 4) % maxTransferBytes, 0];
          const promises = offsets.map((at) =>
            queue.submit({ opcode: 1, data: { buffer, offset: at, length } }),
          );
          await Promise.resolve();
          for (const [i, { cid, prp1, prp2 }] of device.fetch().entries()) {
            const { chunks } = walkPrps(prp1, prp2, length, PAGE, (at) => space.readEntry(at));
            const found = Buffer.concat(
              chunks.map(({ address, length: count }) => space.read(address, count)),
            );
            expect(Buffer.compare(found, buffer.view(offsets[i] ?? 0, length))).toBe(0);
            device.complete(cid);
          }
          queue.reap();
          await Promise.all(promises);
          for (const cleanup of cleanups.splice(0)) {
            buffer.close();
            cleanup();
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("of a command in flight, or only waiting for its turn, can't be taken away", async () => {
    const { queue, device, space } = setUp({ entries: 2 });
    using running = space.alloc(PAGE);
    using waiting = space.alloc(PAGE);
    const promises = [running, waiting].map((buffer) => queue.submit({ opcode: 2, data: { buffer } }));
    for (const buffer of [running, waiting]) {
      expect(() => buffer.close()).toThrow(BusyError);
      expect(buffer.closed).toBe(false);
    }
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1);
    queue.reap();
    await promises[0];
    running.close();
    expect(() => waiting.close()).toThrow("an NVMe command uses it");
    await Promise.resolve();
    // An error is an end as well.
    device.complete(device.fetch()[0]?.cid ?? -1, 0x06);
    queue.reap();
    await expect(promises[1]).rejects.toThrow(NvmeError);
    waiting.close();
  });
});

describe("idle()", () => {
  test("is at once where nothing runs, else when the last of the waiting line is done", async () => {
    const { queue, device } = setUp({ entries: 2 });
    await queue.idle();
    const promises = [queue.submit(command(0)), queue.submit(command(1))];
    const idle = queue.idle();
    for (let i = 0; i < 2; i++) {
      expect(await settled([idle])).toEqual(["pending"]);
      device.complete(device.fetch()[0]?.cid ?? -1);
      queue.reap();
    }
    await idle;
    await Promise.all(promises);
  });
});

describe("polling", () => {
  test("finds completions by itself", async () => {
    const { queue, device } = setUp({ mode: "poll" });
    for (let i = 0; i < 20; i++) {
      const promise = queue.submit(command(i));
      await setImmediate();
      const [fetched] = device.fetch();
      device.complete(fetched?.cid ?? -1, 0, i);
      expect(await promise).toEqual({ dw0: i, dw1: 0 });
    }
  });
});

describe("a controller that misbehaves", () => {
  test("a completion that nobody waits for is a broken protocol", async () => {
    const { queue, device, failures } = setUp();
    const promise = queue.submit(command(0));
    await Promise.resolve();
    const cid = device.fetch()[0]?.cid ?? -1;
    device.complete(cid);
    // The same once more, and one that never was.
    device.complete(cid);
    device.complete(0xfff0);
    queue.reap();
    await promise;
    expect(failures.length).toBe(2);
    expect(failures[0]).toBeInstanceOf(NvmeProtocolError);
    expect(failures[0]?.message).toBe(
      `queue ${ID}: completion for command id ${cid}, which is not outstanding`,
    );
    expect(failures[1]?.message).toContain("65520");
    expect(queue.outstanding).toBe(0);
  });

  test("an interrupt that got lost turns no finished command into a timeout", async () => {
    const { queue, device, failures } = setUp({ timeoutMs: 200 });
    const promise = queue.submit(command(0));
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1, 0, 42);
    // Nobody calls reap().
    expect(await promise).toEqual({ dw0: 42, dw1: 0 });
    expect(failures).toEqual([]);
  });

  test("a command without an answer is reported once, and keeps its buffer until the controller was stopped", async () => {
    let ticks = 0;
    const reports: Error[] = [];
    const reported = new EventEmitter();
    const { queue, space } = setUp({
      timeoutMs: 40,
      entries: 2,
      onTick: () => ticks++,
      onFailure: (error) => {
        reports.push(error);
        reported.emit("failure");
      },
    });
    using buffer = space.alloc(PAGE);
    const promises = [
      queue.submit({ opcode: 2, name: "read", nsid: 1, data: { buffer } }),
      queue.submit(command(1)),
    ];
    await once(reported, "failure");
    const [error = new Error("none")] = reports;
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error.message).toMatch(
      /^read \(nsid 0x1\) on queue 2 \(command id \d+; submission tail 1, completion head 0, 1 outstanding, 1 waiting\): no answer within 40 ms$/,
    );
    // Whether the controller is healthy was asked meanwhile.
    expect(ticks).toBeGreaterThan(0);
    expect(await settled(promises)).toEqual(["pending", "pending"]);
    expect(() => buffer.close()).toThrow(BusyError);

    queue.fail(error);
    for (const promise of promises) await expect(promise).rejects.toBe(error);
    await expect(queue.submit(command(2))).rejects.toBe(error);
    await queue.idle();
    expect(queue.outstanding).toBe(0);
    expect(reports.length).toBe(1);
    buffer.close();
  });

  test("an answer that comes after the end is not looked at", async () => {
    const { queue, device } = setUp();
    const promise = queue.submit(command(0));
    await Promise.resolve();
    const cid = device.fetch()[0]?.cid ?? -1;
    queue.fail(new ClosedError("the controller"));
    await expect(promise).rejects.toThrow(ClosedError);
    device.complete(cid);
    expect(queue.reap()).toBe(0);
    expect(queue.outstanding).toBe(0);
  });
});

describe("a plain transfer", () => {
  const TWO_32 = 2 ** 32;

  test("reaches the controller as the same command written out, whatever the place", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 1023 }).map((dword) => dword * 4),
        fc.integer({ min: 1, max: 64 * 1024 }),
        fc.maxSafeInteger().map(Math.abs),
        fc.nat({ max: 0xffff_ffff }),
        async (pagesBefore, offset, length, lba, cdw12) => {
          const firstIova = 2n ** 32n - BigInt(pagesBefore * PAGE);
          const { queue, device, space } = setUp({ firstIova, entries: 4 });
          using buffer = space.alloc(32 * PAGE);
          const cdws = { cdw10: lba >>> 0, cdw11: Math.floor(lba / TWO_32), cdw12 };
          // The slots aren't the same, and so neither are the ids and lists.
          const seen: { dwords: readonly number[]; pages: bigint[] }[] = [];
          for (const send of [
            () => queue.transfer(2, 7, lba, cdw12, buffer, offset, length),
            () => queue.submit({ opcode: 2, nsid: 7, ...cdws, data: { buffer, offset, length } }),
          ]) {
            const promise = send();
            await Promise.resolve();
            const [fetched] = device.fetch();
            if (fetched === undefined) throw new Error("no command came");
            const { cid, prp1, prp2, dwords } = fetched;
            const { chunks } = walkPrps(prp1, prp2, length, PAGE, (at) => space.readEntry(at));
            const [head = 0, ...rest] = dwords;
            seen.push({
              dwords: [head & 0xffff, ...rest.slice(0, 5), ...rest.slice(9)],
              pages: chunks.map(({ address }) => address),
            });
            device.complete(cid);
            queue.reap();
            await promise;
          }
          expect(seen[0]).toEqual(seen[1]);
          buffer.close();
          for (const cleanup of cleanups.splice(0)) cleanup();
        },
      ),
      { numRuns: 60 },
    );
  });

  test("keeps its buffer until it is done, and fails with the command's name", async () => {
    const { queue, device, space } = setUp();
    using buffer = space.alloc(PAGE);
    const promise = queue.transfer(1, 1, 16, 7, buffer, 0, PAGE);
    expect(() => buffer.close()).toThrow(BusyError);
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1, 0x80);
    queue.reap();
    await expect(promise).rejects.toThrow(
      "write (nsid 0x1, cdw10 0x10, cdw11 0x0, cdw12 0x7): LBA Out of Range",
    );
    buffer.close();
    expect(() => queue.transfer(1, 1, 16, 7, buffer, 0, PAGE)).toThrow(ClosedError);
    expect(queue.outstanding).toBe(0);
  });

  test("waits for a slot, and for the end of a reset, as other commands do", async () => {
    const { queue, device, space } = setUp({ entries: 2 });
    using buffer = space.alloc(PAGE);
    const promises = [1, 2].map((lba) => queue.transfer(2, 1, lba, 0, buffer, 0, 512));
    for (const lba of [1, 2]) {
      await Promise.resolve();
      const fetched = device.fetch();
      expect(fetched.map(({ dwords }) => dwords[10])).toEqual([lba]);
      expect(() => buffer.close()).toThrow(BusyError);
      device.complete(fetched[0]?.cid ?? -1);
      queue.reap();
    }
    await Promise.all(promises);
    queue.suspend(new Error("a reset"), () => true);
    const waiting = queue.transfer(2, 1, 0, 0, buffer, 0, 512);
    expect(await settled([waiting])).toEqual(["pending"]);
    const over = new Error("over");
    queue.fail(over);
    await expect(waiting).rejects.toBe(over);
    buffer.close();
  });

  test("is sent again after a reset, or rejected, as other commands are", async () => {
    const { queue, device, space, doorbells } = setUp();
    using buffer = space.alloc(PAGE);
    const promises = [2, 1].map((opcode) => queue.transfer(opcode, 1, 3, 0, buffer, 0, 512));
    await Promise.resolve();
    expect(device.fetch().length).toBe(2);
    const reset = new Error("a reset");
    queue.suspend(reset, ({ opcode }) => opcode === 2);
    await expect(promises[1]).rejects.toBe(reset);
    expect(() => buffer.close()).toThrow(BusyError);
    queue.restart(doorbells, undefined);
    queue.resume();
    await Promise.resolve();
    const anew = new Device(queue, doorbells, 8);
    const [again, ...others] = anew.fetch();
    expect(others).toEqual([]);
    expect(again?.dwords.slice(10, 13)).toEqual([3, 0, 0]);
    anew.complete(again?.cid ?? -1);
    queue.reap();
    await promises[0];
    buffer.close();
  });

  test("without an answer is reported, and ends with the queue", async () => {
    const reported = new EventEmitter();
    const { queue, space } = setUp({
      timeoutMs: 40,
      onFailure: (error) => reported.emit("failure", error),
    });
    using buffer = space.alloc(PAGE);
    const promise = queue.transfer(2, 1, 0, 0, buffer, 0, 512);
    const [error]: Error[] = await once(reported, "failure");
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error?.message).toContain("read (nsid 0x1");
    queue.fail(error ?? new Error("none"));
    await expect(promise).rejects.toBe(error);
    buffer.close();
  });

  test("is answered once", async () => {
    const { queue, device, space, failures } = setUp();
    using buffer = space.alloc(PAGE);
    const promise = queue.transfer(2, 1, 0, 0, buffer, 0, 512);
    await Promise.resolve();
    const cid = device.fetch()[0]?.cid ?? -1;
    device.complete(cid);
    device.complete(cid);
    queue.reap();
    await promise;
    expect(failures.map(({ message }) => message)).toEqual([
      `queue ${ID}: completion for command id ${cid}, which is not outstanding`,
    ]);
    buffer.close();
  });

  test("is counted and traced as others are", async () => {
    const { queue, device, space } = setUp({ name: "0000:00:01.0" });
    using buffer = space.alloc(PAGE);
    const statistics = queue.collectStatistics();
    const traces: unknown[] = [];
    const listener = (trace: unknown): void => {
      traces.push(trace);
    };
    subscribe("iova:nvme:submit", listener);
    subscribe("iova:nvme:complete", listener);
    cleanups.push(() => {
      unsubscribe("iova:nvme:submit", listener);
      unsubscribe("iova:nvme:complete", listener);
    });
    const promise = queue.transfer(2, 1, 5, 0, buffer, 0, 512);
    await Promise.resolve();
    const cid = device.fetch()[0]?.cid ?? -1;
    device.complete(cid);
    queue.reap();
    await promise;
    const traced = {
      controller: "0000:00:01.0",
      queue: ID,
      cid,
      command: {
        ...{ name: "read", opcode: 2, nsid: 1, cdw10: 5, cdw11: 0, cdw12: 0 },
        data: { buffer, offset: 0, length: 512 },
      },
    };
    expect(traces).toEqual([traced, { ...traced, status: 0, dw0: 0, dw1: 0 }]);
    expect(statistics.commands).toBe(1);
    expect(statistics.bytesRead).toBe(512);
    buffer.close();
  });
});

describe("a fused operation with a signal", () => {
  const halves = (): [NvmeCommand, NvmeCommand] => [
    { ...command(1), fuse: 1 },
    { ...command(2), fuse: 2 },
  ];

  test("is given up as a whole while it waits for slots", async () => {
    const { queue, device } = setUp({ entries: 3 });
    const running = queue.submit(command(0));
    const abort = new AbortController();
    const promises = queue.submitFused(...halves(), { signal: abort.signal });
    await Promise.resolve();
    const reason = new Error("enough");
    abort.abort(reason);
    for (const promise of promises) await expect(promise).rejects.toBe(reason);
    device.complete(device.fetch()[0]?.cid ?? -1);
    queue.reap();
    await running;
    await Promise.resolve();
    expect(device.fetch()).toEqual([]);
    await queue.idle();
  });

  test("is aborted as a whole while the controller has it, and keeps its slots until it is over", async () => {
    const aborted: number[] = [];
    const { queue, device } = setUp({
      abort: async (_, cid) => {
        aborted.push(cid);
        return true;
      },
    });
    const abort = new AbortController();
    const promises = queue.submitFused(...halves(), { signal: abort.signal });
    await Promise.resolve();
    const cids = device.fetch().map(({ cid }) => cid);
    const reason = new Error("enough");
    abort.abort(reason);
    for (const promise of promises) await expect(promise).rejects.toBe(reason);
    expect(aborted).toEqual(cids);
    expect(queue.outstanding).toBe(2);
    for (const cid of cids) device.complete(cid, 7);
    queue.reap();
    expect(queue.outstanding).toBe(0);
  });
});
