/** Rings of descriptors: positions, laps, and the ways in which a device tells that it is done with a slot. */
import { describe, expect, test } from "vitest";
import type { DmaBuffer } from "../../../src/dma/buffer.js";
import { DmaSpace } from "../../../src/dma/space.js";
import { bit, descriptorLayout, RingCursor, reg16, reg32, reg64 } from "../../../src/doors/pci.js";
import { ArgumentError, ClosedError, DeviceGoneError, StateError } from "../../../src/index.js";
import { collectAll, drop, useForgottenWarnings } from "../../support/forgotten.js";
import { IdentityMapper } from "../../support/identity-mapper.js";

const Packet = descriptorLayout("packet", 16, {
  address: reg64(0),
  status: reg32(8, { fields: { done: bit(0), phase: bit(1) } }),
  id: reg16(12),
});
const { done, phase } = Packet.on(new Uint8Array(16)).status.fields;

describe("a cursor", () => {
  test("goes round, turns its phase with each lap, and counts what it passed", () => {
    const cursor = new RingCursor(3);
    const seen = Array.from({ length: 8 }, () => [cursor.phase, cursor.advance(), cursor.passed]);
    expect(seen).toEqual([
      [1, 0, 1],
      [1, 1, 2],
      [1, 2, 3],
      [0, 0, 4],
      [0, 1, 5],
      [0, 2, 6],
      [1, 0, 7],
      [1, 1, 8],
    ]);
    cursor.reset();
    expect([cursor.slot, cursor.phase, cursor.passed]).toEqual([0, 1, 0]);
  });

  test.each([1, 2, 3, 7, 256])("skips slots as if it passed them one by one, in a ring of %i", (count) => {
    const one = new RingCursor(count);
    const other = new RingCursor(count);
    for (let i = 0; i < 50; i++) {
      const slots = (i * 7) % (count + 1);
      for (let each = 0; each < slots; each++) one.advance();
      other.skip(slots);
      expect([other.slot, other.phase, other.passed]).toEqual([one.slot, one.phase, one.passed]);
    }
  });

  test("refuses rings and steps that can't be", () => {
    for (const count of [0, -1, 1.5, 2 ** 24 + 1]) expect(() => new RingCursor(count)).toThrow(ArgumentError);
    const cursor = new RingCursor(4);
    for (const slots of [-1, 5, 0.5]) expect(() => cursor.skip(slots)).toThrow(ArgumentError);
    expect(cursor.passed).toBe(0);
  });
});

describe("a ring of descriptors", () => {
  test("is zeroed memory at a page that devices can reach", () => {
    using space = new DmaSpace(new IdentityMapper());
    using ring = Packet.ring(space, 512);
    expect(ring.buffer.sizeBytes).toBe(8192);
    expect(ring.iova % 4096n).toBe(0n);
    expect(ring.buffer.bytes.every((byte) => byte === 0)).toBe(true);
    expect([ring.count, ring.used, ring.free]).toEqual([512, 0, 511]);
  });

  test("is full one slot before the positions meet, and gives slots back in order", () => {
    using space = new DmaSpace(new IdentityMapper());
    using ring = Packet.ring(space, 4);
    expect([ring.pop(), ring.peek()]).toEqual([-1, -1]);
    for (let lap = 0; lap < 10; lap++) {
      const first = (lap * 3) % 4;
      const slots = [first, (first + 1) % 4, (first + 2) % 4];
      expect([ring.push(), ring.push(), ring.push(), ring.push()]).toEqual([...slots, -1]);
      expect([ring.used, ring.free, ring.peek()]).toEqual([3, 0, first]);
      expect([ring.pop(), ring.pop(), ring.pop(), ring.pop()]).toEqual([...slots, -1]);
    }
  });

  test("serves devices that set a done bit in the descriptor", () => {
    using space = new DmaSpace(new IdentityMapper());
    using ring = Packet.ring(space, 8);
    const { slots } = ring;
    const device = Packet.on(ring.buffer.bytes);
    const deviceAt = new RingCursor(8);
    const taken: number[] = [];
    for (let sent = 0; sent < 100; ) {
      for (let slot = ring.push(); slot >= 0 && sent < 100; slot = ring.push()) {
        slots.id.write(slot, sent++);
        slots.status.write(slot, 0);
      }
      for (let i = 0; i < 3; i++) device.status.write(deviceAt.advance(), { done: true });
      for (let slot = ring.peek(); slot >= 0 && done.of(slots.status.read(slot)); slot = ring.peek())
        taken.push(slots.id.read(ring.pop()));
    }
    expect(taken).toEqual(Array.from({ length: taken.length }, (_, i) => i));
    expect(taken.length).toBeGreaterThan(90);
  });

  test("serves devices that tell by a phase bit what is new", () => {
    using space = new DmaSpace(new IdentityMapper());
    using ring = Packet.ring(space, 4);
    const device = new RingCursor(4);
    const seen: number[] = [];
    for (let id = 0; id < 23; ) {
      for (let i = 0; i < 3 && id < 23; i++) {
        const bits = device.phase << phase.shift;
        const slot = device.advance();
        ring.slots.id.write(slot, id++);
        ring.slots.status.write(slot, bits);
      }
      const isNew = (): boolean =>
        phase.of(ring.slots.status.read(ring.head.slot)) === (ring.head.phase === 1);
      while (isNew()) seen.push(ring.slots.id.read(ring.head.advance()));
    }
    expect(seen).toEqual(Array.from({ length: 23 }, (_, i) => i));
  });

  test("is waited for: at each wake-up and twice a second the slot that was filled first is read", async () => {
    using space = new DmaSpace(new IdentityMapper());
    using ring = Packet.ring(space, 4);
    const isDone = (slot: number): boolean => done.of(ring.slots.status.read(slot));
    const wakes: (() => void)[] = [];
    const wake = (again: () => void) => {
      wakes.push(again);
      return { close: () => void wakes.splice(0) };
    };
    ring.push();
    ring.push();
    ring.slots.status.write(1, { done: true });
    const waiting = ring.until(isDone, { timeoutMs: 600_000, wake });
    for (const again of wakes) again();
    ring.slots.status.write(0, { done: true });
    for (const again of [...wakes]) again();
    expect(await waiting).toBe(0);
    expect(wakes).toEqual([]);
    expect([ring.used, ring.pop()]).toEqual([2, 0]);
    expect(await ring.until(isDone, { timeoutMs: 0 })).toBe(1);
  });

  test("is waited for no longer than its limit, its signal and its memory last, and not while it is empty", async () => {
    using space = new DmaSpace(new IdentityMapper());
    const ring = Packet.ring(space, 4);
    const never = (): boolean => false;
    await expect(ring.until(never, { timeoutMs: 1 })).rejects.toThrow(StateError);
    ring.push();
    await expect(ring.until(never, { timeoutMs: 1 })).rejects.toThrow(/^slot 0 of the ring in .* isn't done/);
    const gone = AbortSignal.abort(new DeviceGoneError("the device"));
    await expect(ring.until(never, { timeoutMs: 600_000, signal: gone })).rejects.toThrow(DeviceGoneError);
    await expect(Reflect.apply(ring.until, ring, [7, { timeoutMs: 1 }])).rejects.toThrow(ArgumentError);
    await expect(Reflect.apply(ring.until, ring, [never])).rejects.toThrow(ArgumentError);
    const waiting = ring.until(never, { timeoutMs: 600_000 });
    ring.close();
    await expect(waiting).rejects.toThrow(ClosedError);
    await expect(ring.until(never, { timeoutMs: 1 })).rejects.toThrow(ClosedError);
  });

  test("starts anew after a reset of the device", () => {
    using space = new DmaSpace(new IdentityMapper());
    using ring = Packet.ring(space, 4);
    ring.slots.id.write(ring.push(), 7);
    ring.push();
    ring.pop();
    ring.reset();
    expect([ring.used, ring.push(), ring.slots.id.read(0), ring.tail.phase]).toEqual([0, 0, 0, 1]);
  });

  test.each([0, 1, -1, 1.5, 2 ** 24 + 1])("has no %f slots", (count) => {
    using space = new DmaSpace(new IdentityMapper());
    expect(() => Packet.ring(space, count)).toThrow(ArgumentError);
  });

  test("frees its memory once, and what is read afterwards is 0", () => {
    const mapper = new IdentityMapper();
    using space = new DmaSpace(mapper);
    const ring = Packet.ring(space, 4);
    ring.slots.id.write(0, 7);
    expect(mapper.mapped.size).toBe(1);
    ring.close();
    ring.close();
    expect(mapper.mapped.size).toBe(0);
    expect(ring.slots.id.read(0)).toBe(0);
    expect(() => ring.reset()).toThrow(ClosedError);
  });

  test.each<[string, filled: number, (space: DmaSpace, ring: { close(): void; buffer: DmaBuffer }) => void]>([
    ["it was closed", 0, (_, ring) => ring.close()],
    ["it was closed with filled slots", 2, (_, ring) => ring.close()],
    ["it was closed while it was full", 3, (_, ring) => ring.close()],
    ["its buffer was closed", 1, (_, ring) => ring.buffer.close()],
    ["its space was closed", 1, (space) => space.close()],
  ])("gives out no slot after %s: that is a ClosedError", (_, filled, close) => {
    using space = new DmaSpace(new IdentityMapper());
    const ring = Packet.ring(space, 4);
    for (let i = 0; i < filled; i++) ring.push();
    close(space, ring);
    for (const step of [() => ring.push(), () => ring.peek(), () => ring.pop()])
      expect(step).toThrow(ClosedError);
    expect([ring.used, ring.free, ring.count]).toEqual([0, 0, 4]);
  });
});

describe("a ring that a program forgets", () => {
  const forgotten = useForgottenWarnings();

  test("lives as long as its words are used", async () => {
    using space = new DmaSpace(new IdentityMapper());
    const kept: ReturnType<typeof Packet.on>[] = [];
    drop(() => {
      const ring = Packet.ring(space, 4);
      ring.slots.id.write(0, 7);
      kept.push(ring.slots);
    });
    await collectAll();
    expect(forgotten.messages).toEqual([]);
    expect(kept[0]?.id.read(0)).toBe(7);
    kept.length = 0;
    expect(await forgotten.warned(/^DMA buffer of 64 bytes .* was never closed/)).toBe(true);
  });
});
