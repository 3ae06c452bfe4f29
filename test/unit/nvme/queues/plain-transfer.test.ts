/** The queue pair's transfer(), the short way for one buffer without options, against a controller played by hand. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { EventEmitter, once } from "node:events";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { BusyError, ClosedError, TimeoutError } from "../../../../src/core/errors.js";
import {
  atCleanup,
  cleanUp,
  PAGE,
  PlayedController,
  QUEUE_ID,
  settled,
  setUp,
} from "../../../support/played-controller.js";
import { walkPrps } from "../../../support/prp-walker.js";

afterEach(cleanUp);

describe("a plain transfer", () => {
  const TWO_32 = 2 ** 32;

  test("reaches the controller as the same command does through submit(), wherever its data is", async () => {
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
          // The slots differ, and so do the ids and lists.
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
          cleanUp();
        },
      ),
      { numRuns: 60 },
    );
  });

  test("keeps its buffer until it ends, and fails with the command's name", async () => {
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
    const anew = new PlayedController(queue, doorbells, 8);
    const [again, ...others] = anew.fetch();
    expect(others).toEqual([]);
    expect(again?.dwords.slice(10, 13)).toEqual([3, 0, 0]);
    anew.complete(again?.cid ?? -1);
    queue.reap();
    await promises[0];
    buffer.close();
  });

  test("is reported if it gets no answer, and ends with the queue", async () => {
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

  test("is completed once, even if the controller completes it twice", async () => {
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
      `queue ${QUEUE_ID}: completion for command id ${cid}, which is not outstanding`,
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
    atCleanup(() => {
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
      queue: QUEUE_ID,
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
