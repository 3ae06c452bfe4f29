/** The queue pair against a controller played by hand: commands, data, fused operations, and a controller that misbehaves. */
import { EventEmitter, once } from "node:events";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { BusyError, ClosedError, StateError, TimeoutError } from "../../../../src/core/errors.js";
import type { DataRange, NvmeCommand } from "../../../../src/nvme/command/command.js";
import { NvmeError, NvmeProtocolError } from "../../../../src/nvme/command/error.js";
import {
  CQ_DOORBELL,
  cleanUp,
  command,
  type Fetched,
  PAGE,
  QUEUE_ID,
  SQ_DOORBELL,
  settled,
  setUp,
  UNTOUCHED,
} from "../../../support/played-controller.js";
import { walkPrps } from "../../../support/prp-walker.js";

afterEach(cleanUp);

describe("commands", () => {
  test("reach the queue unchanged, in the order of submission", async () => {
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
    // Nothing of an earlier command in the slot is left.
    expect(b?.dwords.slice(1).every((word) => word === 0)).toBe(true);
    expect(a?.cid).not.toBe(b?.cid);
    device.complete(a?.cid ?? -1, 0, 1, 2);
    device.complete(b?.cid ?? -1, 0, 3, 0xffff_ffff);
    expect(queue.reap()).toBe(2);
    expect(await first).toEqual({ dw0: 1, dw1: 2 });
    expect(await second).toEqual({ dw0: 3, dw1: 0xffff_ffff });
  });

  test("carry no address of an earlier user of their slot if they have no data", async () => {
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

  test("share one doorbell store per turn", async () => {
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

  test("may complete in any order, and each gets its own answer", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 9 }),
        fc.array(fc.nat(), { minLength: 1, maxLength: 60 }),
        async (entries, choices) => {
          const { queue, device } = setUp({ entries });
          const promises = choices.map((_, i) => queue.submit(command(i)));
          const inHand: Fetched[] = [];
          for (const choice of choices) {
            // A completion may let a waiting command start.
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

  test("wait in order if they exceed the queue's depth", async () => {
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

  test("are rejected with the request and the status if they fail", async () => {
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
  test("is found by the controller wherever the buffer is, also across 4 GiB", async () => {
    const maxTransferBytes = 64 * 1024;
    await fc.assert(
      fc.asyncProperty(
        // The queues and lists come first; then the buffer is before, across or behind the boundary.
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
          // At the same time, each with another part of the buffer: every slot has its own list pages.
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
          buffer.close();
          cleanUp();
        },
      ),
      { numRuns: 60 },
    );
  });

  test("is what was checked, whatever the caller does to its objects while the command waits", async () => {
    const { queue, device, space } = setUp({ entries: 2 });
    using first = space.alloc(PAGE);
    using second = space.alloc(PAGE);
    using other = space.alloc(PAGE);
    const list: DataRange[] = [{ buffer: first }, { buffer: second }];
    const range = { buffer: first, offset: 0, length: 512 };
    const given = { opcode: 2, cdw10: 1, data: list };
    const promises = [command(0), given, { opcode: 2, data: range }].map((each) => queue.submit(each));
    list[1] = { buffer: other };
    list.pop();
    given.cdw10 = 2;
    range.buffer = other;
    range.offset = 512;
    const done = async (): Promise<Fetched | undefined> => {
      await Promise.resolve();
      const [fetched] = device.fetch();
      device.complete(fetched?.cid ?? -1);
      queue.reap();
      return fetched;
    };
    await done();
    expect(() => second.close()).toThrow(BusyError);
    expect(await done()).toMatchObject({ prp1: first.iova, prp2: second.iova });
    expect(await done()).toMatchObject({ prp1: first.iova, prp2: 0n });
    await Promise.all(promises);
    // No hold is left, and none was dropped twice.
    for (const buffer of [first, second, other]) buffer.close();
  });

  test("stays held if the caller drops a hold that it doesn't have", async () => {
    const { queue, device, space } = setUp();
    using buffer = space.alloc(PAGE);
    const promise = queue.submit({ opcode: 2, data: { buffer } });
    expect(() => buffer.lease.drop()).toThrow(StateError);
    expect(() => buffer.close()).toThrow(BusyError);
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1);
    queue.reap();
    await promise;
    buffer.close();
  });

  test("can't be closed while its command is in flight or waiting", async () => {
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
    // An error also ends the command.
    device.complete(device.fetch()[0]?.cid ?? -1, 0x06);
    queue.reap();
    await expect(promises[1]).rejects.toThrow(NvmeError);
    waiting.close();
  });
});

describe("idle()", () => {
  test("resolves at once if nothing runs, and otherwise after the last waiting command", async () => {
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

describe("a queue pair in mode poll", () => {
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
  test("causes an NvmeProtocolError if it completes a command that isn't outstanding", async () => {
    const { queue, device, failures } = setUp();
    const promise = queue.submit(command(0));
    await Promise.resolve();
    const cid = device.fetch()[0]?.cid ?? -1;
    device.complete(cid);
    // The same once more, and an id that was never used.
    device.complete(cid);
    device.complete(0xfff0);
    queue.reap();
    await promise;
    expect(failures.length).toBe(2);
    expect(failures[0]).toBeInstanceOf(NvmeProtocolError);
    expect(failures[0]?.message).toBe(
      `queue ${QUEUE_ID}: completion for command id ${cid}, which is not outstanding`,
    );
    expect(failures[1]?.message).toContain("65520");
    expect(queue.outstanding).toBe(0);
  });

  test("doesn't time out a finished command if only its interrupt was lost", async () => {
    const { queue, device, failures } = setUp({ timeoutMs: 200 });
    const promise = queue.submit(command(0));
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1, 0, 42);
    // The test doesn't call reap().
    expect(await promise).toEqual({ dw0: 42, dw1: 0 });
    expect(failures).toEqual([]);
  });

  test("doesn't time out commands whose completions are there when the timer runs late, and looks for all of them once", async () => {
    const timeoutMs = 1500;
    // A tick is 250 ms. The queue looks for lost interrupts with every second one, and commands expire with the seventh.
    const lastTick = 7;
    let ticks = 0;
    const looks: number[] = [];
    let complete = (): void => {};
    const { queue, device, failures } = setUp({
      timeoutMs,
      onTick: () => {
        if (++ticks === lastTick) complete();
      },
    });
    const reap = queue.reap.bind(queue);
    vi.spyOn(queue, "reap").mockImplementation(() => {
      looks.push(ticks);
      return reap();
    });
    const promises = [0, 1, 2].map((i) => queue.submit(command(i)));
    await Promise.resolve();
    const fetched = device.fetch();
    complete = () => {
      for (const { cid } of fetched) device.complete(cid);
    };
    await Promise.all(promises);
    expect(failures).toEqual([]);
    expect(looks.filter((tick) => tick === lastTick)).toHaveLength(1);
  });

  test("doesn't time out a command with a limit of its own if its completion is there when the timer runs late", async () => {
    const { queue, device, failures } = setUp();
    const promise = queue.submit(command(0), { timeoutMs: 1 });
    await Promise.resolve();
    device.complete(device.fetch()[0]?.cid ?? -1, 0, 42);
    // Nobody calls reap(), and the queue's own timer looks for lost interrupts after seconds.
    expect(await promise).toEqual({ dw0: 42, dw1: 0 });
    expect(failures).toEqual([]);
  });

  test("is reported once if it doesn't answer, and keeps the buffer until it was stopped", async () => {
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
    // Meanwhile the queue checked the controller's state.
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

  test("is ignored after the queue has failed", async () => {
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

describe("a fused operation with a signal", () => {
  const halves = (): [NvmeCommand, NvmeCommand] => [
    { ...command(1), fuse: 1 },
    { ...command(2), fuse: 2 },
  ];

  test("is dropped as a whole while it waits for slots", async () => {
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

  test("is aborted as a whole while the controller has it, and keeps its slots until it ends", async () => {
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
