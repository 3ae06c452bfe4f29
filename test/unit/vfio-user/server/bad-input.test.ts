/** The server against clients that break the protocol. */
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { BusyError } from "../../../../src/core/errors.js";
import { ArgumentError } from "../../../../src/index.js";
import { EventFd } from "../../../../src/sys/eventfd.js";
import { close, memfd, sealSize } from "../../../../src/sys/syscalls.js";
import {
  VFIO_REGION_INFO_FLAG_CAPS,
  vfio_irq_info,
  vfio_irq_set,
  vfio_region_info,
} from "../../../../src/vfio/uapi.js";
import {
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  VFIO_DEVICE_FEATURE_SET,
  vfio_device_feature,
} from "../../../../src/vfio/uapi-feature.js";
import {
  Command,
  DMA_READ,
  DMA_WRITE,
  dmaMap,
  dmaUnmap,
  loggingControl,
  regionAccess,
  UNMAP_ALL,
  UNMAP_DIRTY_BITMAP,
  unmapBitmap,
} from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import type { MemorySpan } from "../../../../src/vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { setBlocking } from "../../../support/blocking.js";
import { caught } from "../../../support/caught.js";
import { socketPath } from "../../../support/emulators.js";
import { holdings } from "../../../support/holdings.js";
import { RawClient } from "../../../support/raw-vfio-user.js";
import { header } from "../../../support/raw-vfio-user-message.js";
import { TestFunction } from "../../../support/test-function.js";

const PAGE = 4096;
const { E2BIG, EEXIST, EINVAL, ENOENT, ENOTTY, EOPNOTSUPP, EPERM } = Errno;
const SEND_TIMEOUT_MS = 200;
const VERSION_TIMEOUT_MS = 400;

let device: TestFunction;
let server: VfioUserServer;
let before: ReturnType<typeof holdings>;
beforeEach(async () => {
  device = new TestFunction();
  server = new VfioUserServer(socketPath(), device, {
    sendTimeoutMs: SEND_TIMEOUT_MS,
    versionTimeoutMs: VERSION_TIMEOUT_MS,
  });
  // What a first watch and the test before leave for the next turn of the loop isn't counted.
  await new Promise((resolve) => setTimeout(resolve, 2));
  before = holdings();
});

/** Mappings of memfds that the tests' clients shared. */
const sharedMappings = (): number =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("client-")).length;
const idle = (): Promise<void> => vi.waitFor(() => expect(server.connected).toBe(false), { interval: 1 });

/** Whatever the client before did: the next one is served, and nothing of the former is left. */
afterEach(async () => {
  await idle();
  expect(sharedMappings()).toBe(0);
  expect(holdings()).toEqual(before);
  using client = await negotiated();
  const read = await client.ask(Command.regionRead, regionAccess.encode({ region: 7, offset: 0n, count: 4 }));
  expect(read?.payload.subarray(16)).toEqual(Uint8Array.of(0x34, 0x12, 0xe8, 0x11));
  expect(device.counts.connects).toBe(device.counts.disconnects + 1);
  client.close();
  await idle();
  server.close();
  device.close();
});

async function negotiated(): Promise<RawClient> {
  const client = new RawClient(server.path);
  const version = await client.ask(Command.version, encodeVersion());
  expect(version).toMatchObject({ errno: 0, isReply: true, command: Command.version, id: 7 });
  return client;
}

/** A memfd of a client's; the caller closes it. */
function file(pages: number, sealed = true): number {
  const fd = memfd("client-memory", pages * PAGE);
  if (sealed) sealSize(fd);
  return fd;
}

const mapping = (
  fields: Partial<{ flags: number; offset: bigint; addr: bigint; size: bigint }>,
): Uint8Array =>
  dmaMap.encode({ flags: DMA_READ | DMA_WRITE, addr: 0x10_0000n, size: BigInt(PAGE), ...fields });
const unmapping = (addr: bigint, size: bigint, flags = 0): Uint8Array =>
  dmaUnmap.encode({ addr, size, flags });

function find(iova: number, length: number, write = false): boolean {
  const nothing = new SharedArrayBuffer(0);
  const span: MemorySpan = { bytes: new Uint8Array(nothing), words: new Uint32Array(nothing), offset: 0 };
  return device.host?.memory.find(iova, length, write, span) ?? false;
}

describe("mapping", () => {
  test.each<[string, Parameters<typeof mapping>[0]]>([
    ["beyond the end of the file", { size: BigInt(3 * PAGE) }],
    ["behind the end of the file", { offset: BigInt(2 * PAGE) }],
    ["partly behind the end of the file", { offset: BigInt(PAGE), size: BigInt(2 * PAGE) }],
    ["nothing", { size: 0n }],
    ["everything", { addr: 0n, size: 2n ** 64n - BigInt(PAGE) }],
    ["2^53 bytes", { addr: 0n, size: 2n ** 53n }],
    ["addresses that overflow", { addr: 2n ** 64n - BigInt(PAGE), size: BigInt(2 * PAGE) }],
    ["at a file offset of 2^63", { offset: 2n ** 63n }],
    ["at a file offset that overflows", { offset: 2n ** 64n - BigInt(PAGE) }],
    ["half a page", { size: BigInt(PAGE / 2) }],
    ["at an address inside a page", { addr: 0x10_0004n }],
    ["from inside a page", { offset: 4n }],
  ])("%s", async (_, fields) => {
    using client = await negotiated();
    const fd = file(2);
    expect(await client.errnoOf(Command.dmaMap, mapping(fields), [fd])).toBe(EINVAL);
    close(fd);
    expect(sharedMappings()).toBe(0);
    expect(find(0x10_0000, 1)).toBe(false);
  });

  test("a file that the client could cut short", async () => {
    using client = await negotiated();
    const folder = mkdtempSync(join(tmpdir(), "iova-client-"));
    writeFileSync(join(folder, "client-file"), Buffer.alloc(PAGE));
    const plain = openSync(join(folder, "client-file"), "r+");
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [plain])).toBe(EPERM);
    closeSync(plain);
    // What a file of tmpfs is: a memfd that was made without sealing.
    const shared = join("/dev/shm", `client-${process.pid}`);
    writeFileSync(shared, Buffer.alloc(PAGE));
    const unsealable = openSync(shared, "r+");
    unlinkSync(shared);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [unsealable])).toBe(EPERM);
    closeSync(unsealable);
    rmSync(folder, { recursive: true });
    using event = new EventFd();
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [event.fd])).toBe(EPERM);
  });

  test("a memfd that the client could cut short, which it can't any more", async () => {
    using client = await negotiated();
    const fd = file(1, false);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd])).toBe(0);
    expect(() => ftruncateSync(fd, 0)).toThrow("EPERM");
    close(fd);
    expect(find(0x10_0000, PAGE)).toBe(true);
  });

  test("such a file, of clients that are trusted", async () => {
    const other = new TestFunction();
    const trusting = new VfioUserServer(socketPath(), other, { trustClients: true });
    const client = new RawClient(trusting.path);
    await client.ask(Command.version, encodeVersion());
    const fd = file(1, false);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd])).toBe(0);
    expect(await client.errnoOf(Command.dmaMap, mapping({ addr: 0n, size: BigInt(2 * PAGE) }), [fd])).toBe(
      EINVAL,
    );
    close(fd);
    client.close();
    trusting.close();
    other.close();
  });

  test("two files at once, or with half a message", async () => {
    using client = await negotiated();
    const fd = file(1);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd, fd])).toBe(EINVAL);
    expect(await client.errnoOf(Command.dmaMap, mapping({}).slice(0, 12), [fd])).toBe(EINVAL);
    expect(await client.errnoOf(Command.dmaMap, undefined, [fd])).toBe(EINVAL);
    close(fd);
  });

  test("over what is mapped", async () => {
    using client = await negotiated();
    const fd = file(4);
    const size = BigInt(2 * PAGE);
    expect(await client.errnoOf(Command.dmaMap, mapping({ size }), [fd])).toBe(0);
    for (const addr of [0x10_0000n, 0x10_1000n, 0x0f_f000n]) {
      expect(await client.errnoOf(Command.dmaMap, mapping({ addr, size }), [fd])).toBe(EEXIST);
      expect(await client.errnoOf(Command.dmaMap, mapping({ addr, size }))).toBe(EEXIST);
    }
    const whole = { addr: 0x0f_f000n, size: BigInt(4 * PAGE) };
    expect(await client.errnoOf(Command.dmaMap, mapping(whole), [fd])).toBe(EEXIST);
    close(fd);
    expect(find(0x10_0000, 2 * PAGE)).toBe(true);
    expect(find(0x10_0000, 2 * PAGE + 1)).toBe(false);
    expect(find(0x0f_ffff, 2)).toBe(false);
  });

  test("with one right, which is all there is", async () => {
    using client = await negotiated();
    const fd = file(1);
    await client.errnoOf(Command.dmaMap, mapping({ flags: DMA_READ }), [fd]);
    await client.errnoOf(Command.dmaMap, mapping({ flags: DMA_WRITE, addr: 0x20_0000n }), [fd]);
    await client.errnoOf(Command.dmaMap, mapping({ flags: 0, addr: 0x30_0000n }), [fd]);
    close(fd);
    expect([find(0x10_0000, 8), find(0x10_0000, 8, true)]).toEqual([true, false]);
    expect([find(0x20_0000, 8), find(0x20_0000, 8, true)]).toEqual([false, true]);
    expect([find(0x30_0000, 8), find(0x30_0000, 8, true)]).toEqual([false, false]);
    const memory = device.host?.memory;
    expect(await caught(memory?.write(0x10_0000, new Uint8Array(8)) ?? Promise.resolve())).toMatchObject({
      code: "ERR_IOVA_DMA_ACCESS",
    });
  });
});

describe("unmapping", () => {
  test("what was never mapped, or would be cut", async () => {
    using client = await negotiated();
    const fd = file(4);
    expect(await client.errnoOf(Command.dmaMap, mapping({ size: BigInt(4 * PAGE) }), [fd])).toBe(0);
    close(fd);
    const cases: readonly [bigint, bigint, number, number][] = [
      [0x20_0000n, BigInt(PAGE), 0, ENOENT],
      [0x10_0000n, 0n, 0, ENOENT],
      [0n, 0n, 0, ENOENT],
      [0x10_0000n, BigInt(PAGE), 0, EINVAL],
      [0x10_1000n, BigInt(PAGE), 0, EINVAL],
      [0x10_1000n, BigInt(16 * PAGE), 0, EINVAL],
      [0x0f_f000n, BigInt(2 * PAGE), 0, EINVAL],
      // Without the place for a bitmap.
      [0x10_0000n, BigInt(4 * PAGE), UNMAP_DIRTY_BITMAP, EINVAL],
      [0n, 0n, UNMAP_DIRTY_BITMAP | UNMAP_ALL, EOPNOTSUPP],
      [0x10_0000n, BigInt(4 * PAGE), 0x80, EOPNOTSUPP],
      [0x10_0000n, BigInt(4 * PAGE), UNMAP_ALL, EINVAL],
    ];
    for (const [addr, size, flags, errno] of cases) {
      expect(await client.errnoOf(Command.dmaUnmap, unmapping(addr, size, flags))).toBe(errno);
      expect(find(0x10_0000, 4 * PAGE, true)).toBe(true);
    }
    expect(await client.errnoOf(Command.dmaUnmap, new Uint8Array(7))).toBe(EINVAL);
    expect(sharedMappings()).toBe(1);
    expect(await client.errnoOf(Command.dmaUnmap, unmapping(0x10_0000n, BigInt(4 * PAGE)))).toBe(0);
    expect(sharedMappings()).toBe(0);
    expect(find(0x10_0000, 1)).toBe(false);
  });

  test("with what was written, where that can't be told", async () => {
    using client = await negotiated();
    const fd = file(4);
    const size = BigInt(4 * PAGE);
    expect(await client.errnoOf(Command.dmaMap, mapping({ size }), [fd])).toBe(0);
    close(fd);
    const taking = (
      pgsize: bigint,
      room: bigint,
      argsz = 4096,
      addr = 0x10_0000n,
      bytes = size,
    ): Uint8Array =>
      Buffer.concat([
        dmaUnmap.encode({ argsz, addr, size: bytes, flags: UNMAP_DIRTY_BITMAP }),
        unmapBitmap.encode({ pgsize, size: room }),
      ]);
    // Nothing is logged.
    expect(await client.errnoOf(Command.dmaUnmap, taking(4096n, 8n))).toBe(EINVAL);
    const start = Buffer.concat([
      vfio_device_feature.encode({
        argsz: 24,
        flags: VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
      }),
      loggingControl.encode({ page_size: 4096n }),
    ]);
    expect(await client.errnoOf(Command.deviceFeature, start)).toBe(0);
    const wrong: readonly [Uint8Array, number][] = [
      [taking(0n, 8n), EINVAL],
      [taking(4097n, 8n), EINVAL],
      [taking(2n ** 63n, 0n), E2BIG],
      [taking(4096n, 7n), E2BIG],
      [taking(4096n, 2n ** 64n - 1n), EINVAL],
      [taking(4096n, 2n ** 40n), EINVAL],
      [taking(4096n, 8n, 47), EINVAL],
      [taking(4096n, 8n, 0), EINVAL],
      [taking(4096n, 8n, 4096, 0n), ENOENT],
      [taking(4096n, 8n, 4096, 0x10_0000n, size - 4096n), ENOENT],
      [taking(4096n, 8n, 4096, 0x10_0000n, 2n ** 64n - 1n), ENOENT],
      [taking(4096n, 8n).subarray(0, 39), EINVAL],
    ];
    for (const [payload, errno] of wrong) {
      expect(await client.errnoOf(Command.dmaUnmap, payload)).toBe(errno);
      expect(sharedMappings()).toBe(1);
    }
    expect(find(0x10_1000, 1, true)).toBe(true);
    // More room than needed is filled up.
    const answer = await client.ask(Command.dmaUnmap, taking(4096n, 32n));
    expect(answer).toMatchObject({ errno: 0 });
    expect(answer?.payload).toHaveLength(dmaUnmap.sizeBytes + unmapBitmap.sizeBytes + 32);
    expect([...(answer?.payload.subarray(40) ?? [])]).toEqual([2, ...new Array<number>(31).fill(0)]);
    expect(sharedMappings()).toBe(0);
  });

  test("all, and a client that goes without unmapping", async () => {
    const client = await negotiated();
    const fd = file(1);
    for (let i = 0; i < 20; i++) {
      const addr = BigInt(i * 2 * PAGE);
      expect(await client.errnoOf(Command.dmaMap, mapping({ addr }), [fd])).toBe(0);
    }
    expect(await client.errnoOf(Command.dmaUnmap, unmapping(0n, 0n, UNMAP_ALL))).toBe(0);
    expect(sharedMappings()).toBe(0);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd])).toBe(0);
    close(fd);
    client.close();
    await idle();
    expect(sharedMappings()).toBe(0);
  });
});

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
  ])("%s", async (_, region, offset, count) => {
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

  test("with other data than it says", async () => {
    using client = await negotiated();
    for (const data of [0, 3, 5, 4096]) {
      expect(await client.errnoOf(Command.regionWrite, access(0, 0n, 4, data))).toBe(EINVAL);
    }
    expect(await client.errnoOf(Command.regionWrite, new Uint8Array(15))).toBe(EINVAL);
    expect(await client.errnoOf(Command.regionRead, new Uint8Array(0))).toBe(EINVAL);
    const back = await client.ask(Command.regionRead, access(0, 0n, 16));
    expect(back?.payload.subarray(16)).toEqual(new Uint8Array(16));
  });

  test("many at once, some of them wrong", async () => {
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

  test("asked about, with no such index", async () => {
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

describe("interrupts", () => {
  const MSIX = 2;
  const EVENTFDS = 4 | 32;
  const set = (flags: number, index: number, start: number, count: number, data = 0): Uint8Array =>
    Buffer.concat([vfio_irq_set.encode({ flags, index, start, count }), new Uint8Array(data)]);

  test("with what is no eventfd", async () => {
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

  test("with wrong counts, starts, indexes and flags", async () => {
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

  test("again and again in the same place, and one whose counter is full", async () => {
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
    device.host?.raise(99);
    expect(holdings().descriptors).toBe(held);
    expect(await client.errnoOf(Command.deviceSetIrqs, set(1 | 32, MSIX, 0, 0))).toBe(0);
    expect(holdings().descriptors).toBe(held - 1);
    // The descriptor, too, of what signals.
    client.close();
    while (holdings().descriptors > held - 4) await idle();
  });
});

describe("messages", () => {
  test("before VERSION", async () => {
    for (const command of Object.values(Command)) {
      if (command === Command.version) continue;
      using client = new RawClient(server.path);
      expect(await client.ask(command, new Uint8Array(64))).toBeUndefined();
      await idle();
    }
    expect(device.counts.connects).toBe(0);
  });

  test("VERSION that makes no sense, or another one", async () => {
    const json = (text: string, major = 0): Uint8Array =>
      Buffer.concat([Uint8Array.of(major, 0, 1, 0), Buffer.from(text)]);
    for (const payload of [
      json("{}", 1),
      json("{"),
      json("[]"),
      new Uint8Array(2),
      Buffer.alloc(4096, 0xff),
    ]) {
      using client = new RawClient(server.path);
      expect(await client.ask(Command.version, payload)).toBeUndefined();
      await idle();
    }
    expect(device.counts.connects).toBe(0);
  });

  test.each([
    [0, 0],
    [1, 1],
    [9, 1],
  ])("a client that speaks 0.%i is answered with 0.%i", async (theirs, ours) => {
    using client = new RawClient(server.path);
    const payload = encodeVersion();
    Buffer.from(payload.buffer, payload.byteOffset).writeUInt16LE(theirs, 2);
    const reply = await client.ask(Command.version, payload);
    expect(Buffer.from(reply?.payload ?? []).readUInt32LE(0)).toBe(ours << 16);
  });

  test("VERSION twice", async () => {
    using client = await negotiated();
    expect(await client.errnoOf(Command.version, encodeVersion())).toBe(EINVAL);
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
    expect(device.counts).toMatchObject({ connects: 1, resets: 1 });
  });

  test("unknown commands, and those that only servers have", async () => {
    using client = await negotiated();
    const { dmaRead, dmaWrite, deviceFeature, migDataRead, migDataWrite } = Command;
    for (const command of [0, 14, 19, 0xffff, dmaRead, dmaWrite, deviceFeature, migDataRead, migDataWrite]) {
      expect(await client.errnoOf(command, new Uint8Array(32))).toBe(ENOTTY);
    }
  });

  test("that want no answer get none", async () => {
    using client = await negotiated();
    await client.send(header({ id: 1, command: Command.deviceReset, flags: 0x10 }));
    await client.send(header({ id: 2, command: 0xff, flags: 0x10 }));
    await client.send(header({ id: 3, command: Command.deviceReset }));
    expect(await client.receive()).toMatchObject({ id: 3, errno: 0 });
    expect(device.counts.resets).toBe(2);
  });

  test.each([0, 15, 2 * 1024 * 1024, 0xffff_ffff])("of %i bytes", async (size) => {
    using client = await negotiated();
    await client.send(header({ command: Command.deviceReset, size }));
    expect(await client.receive()).toBeUndefined();
    expect(device.counts.resets).toBe(0);
  });

  test.each([1, 15, 16, 20])("that end after %i bytes, with a descriptor", async (length) => {
    const client = await negotiated();
    const fd = file(1);
    await client.send(header({ command: Command.dmaMap, payload: mapping({}) }).subarray(0, length), [fd]);
    close(fd);
    client.close();
  });

  test("byte by byte", async () => {
    using client = await negotiated();
    const fd = file(1);
    const bytes = header({ id: 9, command: Command.dmaMap, payload: mapping({}) });
    for (let i = 0; i < bytes.length; i++) await client.send(bytes.subarray(i, i + 1), i === 20 ? [fd] : []);
    close(fd);
    expect(await client.receive()).toMatchObject({ id: 9, errno: 0 });
    expect(find(0x10_0000, PAGE)).toBe(true);
  });

  test("with more descriptors than anybody needs", async () => {
    using client = await negotiated();
    using event = new EventFd();
    const fds = new Array<number>(253).fill(event.fd);
    expect(await client.ask(Command.deviceReset, undefined, fds)).toBeUndefined();
  });

  test("with descriptors where none belong", async () => {
    using client = await negotiated();
    using event = new EventFd();
    const fds = new Array<number>(60).fill(event.fd);
    expect(await client.errnoOf(Command.deviceReset, undefined, fds)).toBe(0);
    expect(await client.errnoOf(0xff, undefined, fds)).toBe(ENOTTY);
  });

  test("answers to nothing", async () => {
    using client = await negotiated();
    await client.send(header({ command: Command.dmaRead, flags: 1, payload: new Uint8Array(16) }));
    expect(await client.receive()).toBeUndefined();
  });

  test("whose answers are never taken", async () => {
    using client = await negotiated();
    const request = header({
      command: Command.regionRead,
      payload: regionAccess.encode({ region: 0, offset: 0n, count: 16384 }),
    });
    const all = Buffer.concat(new Array<Buffer>(64).fill(request));
    await client.send(all);
    await idle();
  });

  test("that never come keep nobody else out, and end in time", async () => {
    using quiet = new RawClient(server.path);
    using half = new RawClient(server.path);
    await half.send(header({ command: Command.version }).subarray(0, 7));
    using client = await negotiated();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
    expect(await quiet.receive()).toBeUndefined();
    expect(await half.receive()).toBeUndefined();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });

  test("that come too late: who began before and is second is sent away", async () => {
    using late = new RawClient(server.path);
    using client = await negotiated();
    expect(await late.ask(Command.version, encodeVersion())).toMatchObject({ errno: Errno.EBUSY });
    expect(await late.receive()).toBeUndefined();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });

  test("of a crowd that says nothing: the oldest go", async () => {
    const crowd: RawClient[] = [];
    for (let i = 0; i < 24; i++) {
      crowd.push(new RawClient(server.path));
      // Only so many wait to be accepted.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    for (const one of crowd.slice(0, 8)) expect(await one.receive()).toBeUndefined();
    using client = await negotiated();
    for (const one of crowd) one.close();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });

  test("sent while another client is served", async () => {
    using client = await negotiated();
    using second = new RawClient(server.path);
    expect(await second.receive()).toBeUndefined();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });
});

describe("memory without a descriptor", () => {
  test("is read by messages, whose answers are checked", async () => {
    using client = await negotiated();
    expect(await client.errnoOf(Command.dmaMap, mapping({}))).toBe(0);
    const answers: readonly [Uint8Array, number, string | undefined][] = [
      [new Uint8Array(16 + 8).fill(3), 0, undefined],
      [new Uint8Array(16 + 7), 0, "ERR_IOVA_VFIO_USER"],
      [new Uint8Array(16 + 9), 0, "ERR_IOVA_VFIO_USER"],
      [new Uint8Array(0), 0, "ERR_IOVA_VFIO_USER"],
      [new Uint8Array(0), 14, "EFAULT"],
    ];
    for (const [payload, errno, code] of answers) {
      const target = new Uint8Array(8);
      const reading = device.host?.memory.read(0x10_0000, target).then(
        () => undefined,
        (error: unknown) => error,
      );
      const request = await client.receive();
      expect(request).toMatchObject({ command: Command.dmaRead, isReply: false });
      const flags = errno > 0 ? 0x21 : 1;
      await client.send(header({ id: request?.id ?? 0, command: Command.dmaRead, flags, errno, payload }));
      const error = await reading;
      if (code === undefined) expect(target).toEqual(new Uint8Array(8).fill(3));
      else expect(error).toMatchObject({ code });
    }
  });

  test("is still what it was when the next answer is here", async () => {
    using client = await negotiated();
    expect(await client.errnoOf(Command.dmaMap, mapping({}))).toBe(0);
    const targets = [1, 2, 3].map(() => new Uint8Array(64));
    const reading = Promise.all(targets.map((target) => device.host?.memory.read(0x10_0000, target)));
    const answers: Buffer[] = [];
    for (const fill of [1, 2, 3]) {
      const { id = 0 } = (await client.receive()) ?? {};
      const payload = new Uint8Array(16 + 64).fill(fill);
      answers.push(header({ id, command: Command.dmaRead, flags: 1, payload }));
    }
    // Out of order, and all at once.
    await client.send(Buffer.concat(answers.reverse()));
    await reading;
    expect(targets).toEqual([1, 2, 3].map((fill) => new Uint8Array(64).fill(fill)));
  });

  test("is asked for in parts no larger than the client takes", async () => {
    using client = new RawClient(server.path);
    const json = JSON.stringify({ capabilities: { max_data_xfer_size: 1024 } });
    await client.ask(Command.version, Buffer.concat([Uint8Array.of(0, 0, 1, 0), Buffer.from(json)]));
    expect(await client.errnoOf(Command.dmaMap, mapping({}))).toBe(0);
    const writing = device.host?.memory.write(0x10_0000, new Uint8Array(2500));
    for (const length of [1024, 1024, 452]) {
      const request = await client.receive();
      expect(request?.payload).toHaveLength(16 + length);
      const payload = request?.payload.subarray(0, 16) ?? new Uint8Array(0);
      await client.send(header({ id: request?.id ?? 0, command: Command.dmaWrite, flags: 1, payload }));
    }
    await writing;
  });

  test("of a client that goes instead of answering", async () => {
    const client = await negotiated();
    expect(await client.errnoOf(Command.dmaMap, mapping({}))).toBe(0);
    const memory = device.host?.memory;
    const reading = caught(memory?.read(0x10_0000, new Uint8Array(8)) ?? Promise.resolve());
    await client.receive();
    client.close();
    expect(await reading).toMatchObject({ code: "ERR_IOVA_DEVICE_GONE" });
  });
});

describe("where to listen", () => {
  test("somebody listens there, or it is no socket", () => {
    expect(() => new VfioUserServer(server.path, device)).toThrow(BusyError);
    const folder = mkdtempSync(join(tmpdir(), "iova-listen-"));
    expect(() => new VfioUserServer(folder, device)).toThrow(/EADDRINUSE.*there is a folder at this path/);
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => new VfioUserServer(file, device)).toThrow(
      /EADDRINUSE.*there is a file at this path that is no socket: remove it/,
    );
    rmSync(folder, { recursive: true });
    expect(() => new VfioUserServer(join(folder, "gone", "socket"), device)).toThrow(
      /ENOENT.*there is no folder .*gone: create it/,
    );
    expect(() => new VfioUserServer("", device)).toThrow(ArgumentError);
    expect(() => new VfioUserServer("x".repeat(108), device)).toThrow(ArgumentError);
    expect(() => new VfioUserServer(socketPath(), device, { sendTimeoutMs: -1 })).toThrow(ArgumentError);
  });
});
