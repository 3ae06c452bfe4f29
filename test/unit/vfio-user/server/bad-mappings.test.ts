/** The server against clients whose mappings, unmappings or answers for memory are wrong. */
import { once } from "node:events";
import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { EventFd } from "../../../../src/sys/eventfd.js";
import { close } from "../../../../src/sys/syscalls.js";
import {
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  VFIO_DEVICE_FEATURE_SET,
  vfio_device_feature,
} from "../../../../src/vfio/uapi-feature.js";
import {
  Command,
  DMA_READ,
  DMA_WRITE,
  dmaUnmap,
  loggingControl,
  UNMAP_ALL,
  UNMAP_DIRTY_BITMAP,
  unmapBitmap,
} from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import {
  device,
  file,
  find,
  idle,
  mapping,
  negotiated,
  notices,
  PAGE,
  serveBadClients,
  server,
  sharedMappings,
  unmapping,
} from "../../../support/bad-client.js";
import { caught } from "../../../support/caught.js";
import { socketPath } from "../../../support/emulators.js";
import { openDescriptors } from "../../../support/proc.js";
import { RawClient } from "../../../support/raw-vfio-user.js";
import { header } from "../../../support/raw-vfio-user-message.js";
import { unsealableFile } from "../../../support/served-memory.js";
import { TestFunction } from "../../../support/test-function.js";

const { E2BIG, EACCES, EEXIST, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP, EPERM } = Errno;

serveBadClients();

describe("DMA_MAP", () => {
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
  ])("is refused with EINVAL: %s", async (_, fields) => {
    using client = await negotiated();
    const fd = file(2);
    expect(await client.errnoOf(Command.dmaMap, mapping(fields), [fd])).toBe(EINVAL);
    close(fd);
    expect(sharedMappings()).toBe(0);
    expect(find(0x10_0000, 1)).toBe(false);
  });

  test("is refused for a file that can't be sealed and isn't in memory, and the server says so once", async () => {
    using client = await negotiated();
    const onDisk = openSync(process.execPath, "r");
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [onDisk])).toBe(EPERM);
    closeSync(onDisk);
    using event = new EventFd();
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [event.fd])).toBe(EPERM);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(/^vfio-user server at .*refused a client's memory.*--trust-clients/);
  });

  test("gives the device its memory also at addresses that are bigints, as registers hold them", async () => {
    using client = await negotiated();
    const fd = file(1);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd])).toBe(0);
    close(fd);
    const memory = device.host?.memory;
    if (memory === undefined) throw new Error("no client");
    await memory.write(0x10_0000n, Uint8Array.of(1, 2));
    const target = new Uint8Array(2);
    await memory.read(0x10_0000n, target);
    expect([...target]).toEqual([1, 2]);
    expect(memory.copyTo(0x10_0001n, Uint8Array.of(3))).toBe(true);
    expect(memory.copyFrom(0x10_0000n, target)).toBe(true);
    expect([...target]).toEqual([1, 3]);
    const nothing = new SharedArrayBuffer(0);
    const span = { bytes: new Uint8Array(nothing), words: new Uint32Array(nothing), offset: 0 };
    expect(memory.find(0x10_0001n, 1, true, span)).toBe(true);
    expect(span.bytes[span.offset]).toBe(3);
    // Beyond what a number holds exactly, nothing is mapped.
    for (const far of [2n ** 53n + 1n, 2n ** 64n - 1n, -1n]) {
      expect(memory.canCopy(far, 1, false)).toBe(false);
      expect(memory.find(far, 1, false, span)).toBe(false);
      await expect(memory.read(far, target)).rejects.toThrow(`2 bytes at 0x${far.toString(16)}`);
    }
  });

  test("has memory copied that can't be sealed, as SPDK's initiator sends it, and the server says so once", async () => {
    // As lib/vfio_user/host/vfio_user.c of SPDK: a version without capabilities, and a descriptor with DMA_UNMAP, too.
    using client = new RawClient(server.path);
    expect(await client.errnoOf(Command.version, Uint8Array.of(0, 0, 1, 0))).toBe(0);
    const fd = unsealableFile(2 * PAGE);
    const size = BigInt(2 * PAGE);
    expect(await client.errnoOf(Command.dmaMap, mapping({ size }), [fd])).toBe(0);
    const inside = mapping({ addr: 0x20_0000n, size: BigInt(PAGE), offset: BigInt(PAGE), flags: DMA_READ });
    expect(await client.errnoOf(Command.dmaMap, inside, [fd])).toBe(0);
    expect(find(0x10_0000, PAGE)).toBe(false);
    const memory = device.host?.memory;
    expect(memory?.canCopy(0x10_0000, 2 * PAGE, true)).toBe(true);
    expect(memory?.copyTo(0x10_0ffe, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    const target = new Uint8Array(2);
    expect(memory?.copyFrom(0x20_0000, target)).toBe(true);
    expect(target).toEqual(Uint8Array.of(3, 4));
    expect(memory?.copyTo(0x20_0000, target)).toBe(false);
    await memory?.write(0x10_1000, Uint8Array.of(5));
    await memory?.read(0x20_0000, target);
    expect(target).toEqual(Uint8Array.of(5, 4));
    // Truncated in the middle.
    ftruncateSync(fd, PAGE);
    expect(memory?.copyFrom(0x10_0000, target)).toBe(true);
    expect(memory?.copyFrom(0x10_0fff, target)).toBe(false);
    expect(memory?.copyTo(0x10_1000, target)).toBe(false);
    expect(await caught(memory?.read(0x20_0000, target) ?? Promise.resolve())).toMatchObject({
      code: "ERR_IOVA_DMA_ACCESS",
    });
    expect(fstatSync(fd).size).toBe(PAGE);
    expect(await client.errnoOf(Command.dmaUnmap, unmapping(0x10_0000n, size), [fd])).toBe(0);
    closeSync(fd);
    expect(memory?.copyFrom(0x10_0000, target)).toBe(false);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(
      /can't be sealed.*copies it by system calls.*trustClients \(--trust-clients\)/,
    );
  });

  test("is refused beyond the end of a file that would be copied", async () => {
    using client = await negotiated();
    const fd = unsealableFile(PAGE);
    expect(await client.errnoOf(Command.dmaMap, mapping({ size: BigInt(2 * PAGE) }), [fd])).toBe(EINVAL);
    closeSync(fd);
    expect(notices).toEqual([]);
  });

  test("makes a process warning of a notice, unless the server's user takes it", async () => {
    const other = new TestFunction();
    const plain = new VfioUserServer(socketPath(), other);
    const warned = once(process, "warning");
    const client = new RawClient(plain.path);
    await client.ask(Command.version, encodeVersion());
    const fd = unsealableFile(PAGE);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd])).toBe(0);
    closeSync(fd);
    const [warning] = await warned;
    expect(warning).toMatchObject({
      name: "IovaVfioUserWarning",
      message: expect.stringContaining("--trust-clients"),
    });
    client.close();
    plain.close();
    other.close();
  });

  test("seals a memfd, so that the client can't truncate it", async () => {
    using client = await negotiated();
    const fd = file(1, false);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd])).toBe(0);
    expect(() => ftruncateSync(fd, 0)).toThrow("EPERM");
    close(fd);
    expect(find(0x10_0000, PAGE)).toBe(true);
  });

  test("accepts a file that could be truncated from trusted clients", async () => {
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

  test("is refused with two files, or half a message", async () => {
    using client = await negotiated();
    const fd = file(1);
    expect(await client.errnoOf(Command.dmaMap, mapping({}), [fd, fd])).toBe(EINVAL);
    expect(await client.errnoOf(Command.dmaMap, mapping({}).slice(0, 12), [fd])).toBe(EINVAL);
    expect(await client.errnoOf(Command.dmaMap, undefined, [fd])).toBe(EINVAL);
    close(fd);
  });

  test("is refused over an existing mapping", async () => {
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

  test.each([
    ["sealed", true],
    ["that can't be sealed through it", false],
  ])(
    "takes a descriptor for reading only of a file %s, if the mapping is for reading only",
    async (_, seal) => {
      using client = await negotiated();
      const fd = file(1, seal);
      writeSync(fd, Uint8Array.of(1, 2));
      const readOnly = openSync(`/proc/self/fd/${fd}`, "r");
      expect(await client.errnoOf(Command.dmaMap, mapping({ flags: DMA_READ }), [readOnly])).toBe(0);
      const addr = 0x20_0000n;
      expect(await client.errnoOf(Command.dmaMap, mapping({ addr }), [readOnly])).toBe(EACCES);
      closeSync(readOnly);
      close(fd);
      const target = new Uint8Array(2);
      await device.host?.memory.read(0x10_0000, target);
      expect(target).toEqual(Uint8Array.of(1, 2));
      const memory = device.host?.memory;
      expect([memory?.canCopy(0x10_0000, 2, false), memory?.canCopy(0x10_0000, 2, true)]).toEqual([
        true,
        false,
      ]);
    },
  );

  test("is refused with ENOSPC beyond the number that the server states, which keeps on serving", async () => {
    const other = new TestFunction();
    const small = new VfioUserServer(socketPath(), other, { maxDmaMaps: 3, onNotice: () => {} });
    const client = new RawClient(small.path);
    const version = await client.ask(Command.version, encodeVersion());
    expect(Buffer.from(version?.payload ?? []).toString("latin1")).toContain('"max_dma_maps":3');
    const fd = file(1, false);
    const unsealable = unsealableFile(PAGE);
    const map = async (at: number, ...fds: readonly number[]) =>
      await client.errnoOf(Command.dmaMap, mapping({ addr: BigInt(at * PAGE) }), fds);
    expect([await map(0, fd), await map(1, unsealable), await map(2)]).toEqual([0, 0, 0]);
    for (let at = 3; at < 200; at++) expect(await map(at, fd)).toBe(ENOSPC);
    expect(await client.errnoOf(Command.dmaUnmap, unmapping(0n, BigInt(2 * PAGE)))).toBe(0);
    expect([await map(3, fd), await map(4, unsealable), await map(5)]).toEqual([0, 0, ENOSPC]);
    close(fd);
    closeSync(unsealable);
    client.close();
    small.close();
    other.close();
  });

  test("keeps no descriptor of the client open", async () => {
    using client = await negotiated();
    const descriptors = openDescriptors();
    const fd = file(8);
    for (let page = 0n; page < 8n; page++) {
      const fields = { addr: page * 0x1_0000n, offset: page * BigInt(PAGE) };
      expect(await client.errnoOf(Command.dmaMap, mapping(fields), [fd])).toBe(0);
    }
    close(fd);
    expect(openDescriptors()).toBe(descriptors);
  });

  test("grants only the rights that it names", async () => {
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

describe("DMA_UNMAP", () => {
  test("is refused for what isn't mapped, and for parts of a mapping", async () => {
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

  test("is refused if it asks for dirty pages that the server can't report", async () => {
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

  test("removes all mappings, as the end of a client does", async () => {
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

describe("client memory without a descriptor", () => {
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

  test("keeps each answer's bytes when the next answer arrives", async () => {
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

  test("is requested in parts no larger than the client accepts", async () => {
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

  test("is an error if the client closes instead of answering", async () => {
    const client = await negotiated();
    expect(await client.errnoOf(Command.dmaMap, mapping({}))).toBe(0);
    const memory = device.host?.memory;
    const reading = caught(memory?.read(0x10_0000, new Uint8Array(8)) ?? Promise.resolve());
    await client.receive();
    client.close();
    expect(await reading).toMatchObject({ code: "ERR_IOVA_DEVICE_GONE" });
  });
});
