/** The server against clients whose requests about regions and interrupts are wrong. */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { EventFd } from "../../../../src/sys/eventfd.js";
import { close } from "../../../../src/sys/syscalls.js";
import {
  VFIO_REGION_INFO_FLAG_CAPS,
  vfio_irq_info,
  vfio_irq_set,
  vfio_region_info,
} from "../../../../src/vfio/uapi.js";
import { Command, regionAccess } from "../../../../src/vfio-user/protocol/protocol.js";
import { device, file, idle, negotiated, serveBadClients } from "../../../support/bad-client.js";
import { setBlocking } from "../../../support/blocking.js";
import { holdings } from "../../../support/holdings.js";

const { EINVAL } = Errno;

serveBadClients();

describe("region access", () => {
  const access = (region: number, offset: bigint, count: number, data = 0): Uint8Array =>
    Buffer.concat([regionAccess.encode({ region, offset, count }), new Uint8Array(data)]);

  test.each<[string, number, bigint, number]>([
    ["nothing", 0, 0n, 0],
    ["across the end", 0, 16380n, 8],
    ["behind the end", 0, 16384n, 4],
    ["more than there is", 0, 0n, 16385],
    ["4 GiB", 0, 0n, 0xffff_ffff],
    ["at the end of all numbers", 0, 2n ** 64n - 1n, 4],
    ["configuration space across its end", 7, 254n, 4],
    ["extended configuration space, which it hasn't", 7, 256n, 4],
    ["a BAR that isn't there", 1, 0n, 4],
    ["VGA", 8, 0n, 4],
    ["a region that can't be", 9, 0n, 4],
    ["the last region there could be", 0xffff_ffff, 0n, 4],
  ])("is refused with EINVAL: %s", async (_, region, offset, count) => {
    using client = await negotiated();
    expect(await client.errnoOf(Command.regionRead, access(region, offset, count))).toBe(EINVAL);
    const data = Math.min(count, 65536);
    expect(await client.errnoOf(Command.regionWrite, access(region, offset, count, data))).toBe(EINVAL);
  });

  test.each<[number, number, readonly [number, number][]]>([
    [0, 8, [[0, 8]]],
    [
      4,
      8,
      [
        [4, 4],
        [8, 4],
      ],
    ],
    [
      1,
      4,
      [
        [1, 1],
        [2, 2],
        [4, 1],
      ],
    ],
    [
      6,
      19,
      [
        [6, 2],
        [8, 8],
        [16, 8],
        [24, 1],
      ],
    ],
    [
      16381,
      3,
      [
        [16381, 1],
        [16382, 2],
      ],
    ],
  ])("at %i, %i bytes, becomes accesses of registers' widths", async (offset, count, expected) => {
    using client = await negotiated();
    const payload = regionAccess.encode({ region: 0, offset: BigInt(offset), count });
    const data = Uint8Array.from({ length: count }, (_, i) => i + 1);
    device.accesses.length = 0;
    expect(await client.errnoOf(Command.regionWrite, Buffer.concat([payload, data]))).toBe(0);
    expect(device.accesses).toEqual(expected);
    device.accesses.length = 0;
    const read = await client.ask(Command.regionRead, payload);
    expect(device.accesses).toEqual(expected);
    expect(read?.payload.subarray(regionAccess.sizeBytes)).toEqual(data);
  });

  test("is refused if its data is longer or shorter than it says", async () => {
    using client = await negotiated();
    for (const data of [0, 3, 5, 4096]) {
      expect(await client.errnoOf(Command.regionWrite, access(0, 0n, 4, data))).toBe(EINVAL);
    }
    expect(await client.errnoOf(Command.regionWrite, new Uint8Array(15))).toBe(EINVAL);
    expect(await client.errnoOf(Command.regionRead, new Uint8Array(0))).toBe(EINVAL);
    const back = await client.ask(Command.regionRead, access(0, 0n, 16));
    expect(back?.payload.subarray(16)).toEqual(new Uint8Array(16));
  });

  test("is refused for a wrong count or entry of several writes", async () => {
    using client = await negotiated();
    const entry = (region: number, offset: bigint, count: number): Uint8Array =>
      access(region, offset, count, 8);
    const many = (count: bigint, ...entries: Uint8Array[]): Uint8Array =>
      Buffer.concat([Buffer.from(BigUint64Array.of(count).buffer), ...entries]);
    const ask = (payload: Uint8Array): Promise<number | undefined> =>
      client.errnoOf(Command.regionWriteMulti, payload);
    expect(await ask(many(1n, entry(0, 0n, 8)))).toBe(0);
    expect(await ask(many(15n, ...Array.from({ length: 15 }, () => entry(0, 0n, 8))))).toBe(EINVAL);
    expect(await ask(many(2n, entry(0, 0n, 8)))).toBe(EINVAL);
    expect(await ask(many(2n ** 64n - 1n, entry(0, 0n, 8)))).toBe(EINVAL);
    expect(await ask(many(1n, entry(0, 0n, 9)))).toBe(EINVAL);
    expect(await ask(many(1n, entry(0, 0n, 0)))).toBe(EINVAL);
    expect(await ask(many(1n, entry(0, 16380n, 8)))).toBe(EINVAL);
    expect(await ask(many(1n, entry(5, 0n, 8)))).toBe(EINVAL);
    expect(await ask(new Uint8Array(7))).toBe(EINVAL);
  });

  test("has indexes: one that doesn't exist is refused, and too little room is answered with the size", async () => {
    using client = await negotiated();
    const irq = vfio_irq_info.encode({ index: 5 });
    expect(await client.errnoOf(Command.deviceGetIrqInfo, irq)).toBe(EINVAL);
    for (const index of [9, 0xffff_ffff]) {
      const info = vfio_region_info.encode({ index });
      expect(await client.errnoOf(Command.deviceGetRegionInfo, info)).toBe(EINVAL);
      expect(await client.errnoOf(Command.deviceGetRegionIoFds, info)).toBe(EINVAL);
    }
    expect(await client.errnoOf(Command.deviceGetRegionInfo, new Uint8Array(3))).toBe(EINVAL);
    // Too little room for its areas: told how much it takes, and neither of areas nor of a file, as libvfio-user does.
    const small = await client.ask(
      Command.deviceGetRegionInfo,
      vfio_region_info.encode({ argsz: 32, index: 0 }),
    );
    expect(small?.payload).toHaveLength(vfio_region_info.sizeBytes);
    const info = vfio_region_info.decode(small?.payload ?? new Uint8Array(0));
    expect(info).toMatchObject({ cap_offset: 0 });
    expect(info.flags & VFIO_REGION_INFO_FLAG_CAPS).toBe(0);
    expect(small?.fds).toEqual([]);
    const enough = vfio_region_info.encode({ argsz: 64, index: 0 });
    expect((await client.ask(Command.deviceGetRegionInfo, enough))?.fds).toHaveLength(1);
  });
});

describe("DEVICE_SET_IRQS", () => {
  const MSIX = 2;
  const EVENTFDS = 4 | 32;
  const set = (flags: number, index: number, start: number, count: number, data = 0): Uint8Array =>
    Buffer.concat([vfio_irq_set.encode({ flags, index, start, count }), new Uint8Array(data)]);

  test("is refused with a descriptor that isn't an eventfd", async () => {
    using client = await negotiated();
    const plain = openSync("/proc/self/status", "r");
    const memory = file(1);
    for (const fd of [plain, memory]) {
      expect(await client.errnoOf(Command.deviceSetIrqs, set(EVENTFDS, MSIX, 0, 1), [fd])).toBe(EINVAL);
    }
    using event = new EventFd();
    const mixed = [event.fd, memory];
    expect(await client.errnoOf(Command.deviceSetIrqs, set(EVENTFDS, MSIX, 0, 2), mixed)).toBe(EINVAL);
    device.host?.raise(0);
    expect(event.take()).toBe(0);
    closeSync(plain);
    close(memory);
  });

  test("is refused with wrong counts, starts, indexes and flags", async () => {
    using client = await negotiated();
    using event = new EventFd();
    const wrong: readonly Uint8Array[] = [
      set(EVENTFDS, MSIX, 0, 5),
      set(EVENTFDS, MSIX, 4, 1),
      set(EVENTFDS, MSIX, 0xffff_ffff, 1),
      set(EVENTFDS, MSIX, 1, 0xffff_ffff),
      set(EVENTFDS, MSIX, 0, 0),
      set(EVENTFDS, 5, 0, 1),
      set(EVENTFDS, 0xffff_ffff, 0, 1),
      set(4, MSIX, 0, 1),
      set(4 | 8 | 16, MSIX, 0, 1),
      set(7 | 32, MSIX, 0, 1),
      set(2 | 32, MSIX, 0, 4, 3),
      set(0xffff_ffff, MSIX, 0, 1),
      new Uint8Array(11),
    ];
    for (const payload of wrong) {
      expect(await client.errnoOf(Command.deviceSetIrqs, payload, [event.fd])).toBe(EINVAL);
    }
    const four = new Array<number>(4).fill(event.fd);
    expect(await client.errnoOf(Command.deviceSetIrqs, set(EVENTFDS, MSIX, 0, 3), four)).toBe(EINVAL);
    device.host?.raise(0);
    expect(event.take()).toBe(0);
  });

  test("can replace an eventfd many times, and signals one whose counter is full", async () => {
    using client = await negotiated();
    using event = new EventFd();
    for (let i = 0; i < 50; i++) {
      expect(await client.errnoOf(Command.deviceSetIrqs, set(EVENTFDS, MSIX, 1, 1), [event.fd])).toBe(0);
    }
    device.host?.raise(1);
    expect(event.take()).toBe(1);
    const held = holdings().descriptors;
    // Counts to 2^64-2; a server's signal must neither block nor throw, also where the client has it that writes block.
    writeFileSync(event.fd, Buffer.from(BigUint64Array.of(2n ** 64n - 2n).buffer));
    setBlocking(event.fd);
    for (let i = 0; i < 200; i++) device.host?.raise(1);
    expect(holdings().descriptors).toBe(held);
    expect(await client.errnoOf(Command.deviceSetIrqs, set(1 | 32, MSIX, 0, 0))).toBe(0);
    expect(holdings().descriptors).toBe(held - 1);
    // The descriptor, too, of what signals.
    client.close();
    while (holdings().descriptors > held - 4) await idle();
  });
});
