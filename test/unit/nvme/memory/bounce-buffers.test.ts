/** Bounce buffers: reused, limited, waited for, and closed when the controller has let go of them. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ArgumentError, ClosedError, type DmaBuffer, DmaSpace } from "../../../../src/index.js";
import { BounceBuffers } from "../../../../src/nvme/memory/bounce-buffers.js";
import { caught } from "../../../support/caught.js";
import { IdentityMapper } from "../../../support/identity-mapper.js";

const KIB = 1024;

let mapper: IdentityMapper;
let space: DmaSpace;
let bounce: BounceBuffers;
beforeEach(() => {
  mapper = new IdentityMapper();
  space = new DmaSpace(mapper);
  bounce = new BounceBuffers("test", space, 16 * KIB);
});
afterEach(() => {
  bounce.close();
  space.close();
  mapper.lease.close();
});

function take(sizeBytes: number): DmaBuffer {
  const buffer = bounce.take(sizeBytes);
  if (buffer === undefined) throw new Error("all bounce buffers are in use");
  return buffer;
}

const mappedBytes = (): number[] => [...mapper.mapped.values()].map(({ sizeBytes }) => sizeBytes);

describe("BounceBuffers", () => {
  test("are powers of two from a page on, and used again", () => {
    const first = take(1);
    const second = take(4097);
    expect([first.sizeBytes, second.sizeBytes]).toEqual([4096, 8192]);
    bounce.give(first);
    bounce.give(second);
    expect(take(8192)).toBe(second);
    expect(take(4096)).toBe(first);
  });

  test("map no more than the limit; those of other sizes make room", () => {
    const small = [take(KIB), take(KIB), take(KIB), take(KIB)];
    expect(bounce.take(KIB)).toBeUndefined();
    for (const buffer of small) bounce.give(buffer);
    const large = take(16 * KIB);
    expect(mappedBytes()).toEqual([16 * KIB]);
    expect(bounce.take(KIB)).toBeUndefined();
    bounce.give(large);
    expect(take(KIB).sizeBytes).toBe(4096);
    expect(() => bounce.take(16 * KIB + 1)).toThrow(ArgumentError);
  });

  test("go to those who wait in the order of their calls", async () => {
    const all = take(16 * KIB);
    const order: string[] = [];
    const large = bounce.wait(8 * KIB).then((buffer) => {
      order.push("large");
      return buffer;
    });
    const small = bounce.wait(KIB).then((buffer) => {
      order.push("small");
      return buffer;
    });
    // Nobody overtakes them.
    expect(bounce.take(KIB)).toBeUndefined();
    bounce.give(all);
    await Promise.all([large, small]);
    expect(order).toEqual(["large", "small"]);
  });

  test("are given out again only when the controller has let go of them", async () => {
    const held = take(16 * KIB);
    held.lease.pin("a command");
    bounce.give(held);
    expect(bounce.take(16 * KIB)).toBeUndefined();
    const next = bounce.wait(16 * KIB);
    held.lease.unpin();
    expect(await next).toBe(held);
  });

  test("close with the controller, also those that come back later; a request that waits ends", async () => {
    const late = take(8 * KIB);
    bounce.give(take(KIB));
    const waiting = caught(bounce.wait(16 * KIB));
    bounce.close();
    expect(await waiting).toBeInstanceOf(ClosedError);
    expect(mappedBytes()).toEqual([8 * KIB]);
    bounce.give(late);
    expect(mappedBytes()).toEqual([]);
    expect(() => bounce.take(KIB)).toThrow(ClosedError);
  });

  test("report a mapping that fails, and stay usable", async () => {
    mapper.refuseNext = true;
    expect(() => bounce.take(KIB)).toThrow("ENOMEM");
    expect(take(16 * KIB).sizeBytes).toBe(16 * KIB);
  });
});
