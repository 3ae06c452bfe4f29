/** The second socket for the server's requests. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { PciDevice } from "../../../../src/index.js";
import { UnixSocket } from "../../../../src/sys/unix-socket.js";
import { Channel, type Message, VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import {
  Command,
  DMA_READ,
  DMA_WRITE,
  dmaAccess,
  dmaMap,
} from "../../../../src/vfio-user/protocol/protocol.js";
import { decodeVersion, encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { caught } from "../../../support/caught.js";
import { socketPath } from "../../../support/emulators.js";
import { expectNothingLeftSoon } from "../../../support/holdings-soon.js";
import { RawServer } from "../../../support/raw-vfio-user.js";
import { header, type Lie } from "../../../support/raw-vfio-user-message.js";
import { TestFunction } from "../../../support/test-function.js";

const LIMIT_MS = 540_000;
const MAX_BYTES = 2 * 1024 * 1024;
const wanted = { supported: true, fdIndex: undefined };

async function next(channel: Channel): Promise<Message> {
  return await vi.waitFor(
    () => {
      const message = channel.receive();
      if (message === undefined) throw new Error("nothing yet");
      return { ...message, payload: message.payload.slice() };
    },
    { timeout: LIMIT_MS, interval: 1 },
  );
}

describe("a server with a second socket", () => {
  let device: TestFunction;
  let server: VfioUserServer;
  let main: Channel;
  let twin: Channel;
  beforeEach(async () => {
    device = new TestFunction();
    server = new VfioUserServer(socketPath(), device);
    main = new Channel(UnixSocket.connect(server.path), MAX_BYTES, LIMIT_MS);
    main.send({ id: 1, command: Command.version, parts: [encodeVersion(undefined, wanted)] });
    const { payload, fds } = await next(main);
    expect(decodeVersion(payload, "the server").twinSocket).toEqual({ supported: true, fdIndex: 0 });
    const [fd, ...more] = fds;
    expect(more).toHaveLength(0);
    if (fd === undefined) throw new Error("no second socket");
    twin = new Channel(new UnixSocket(fd, "twin"), MAX_BYTES, LIMIT_MS);
    const map = dmaMap.encode({ flags: DMA_READ | DMA_WRITE, addr: 0x1000n, size: 0x1000n });
    main.send({ id: 2, command: Command.dmaMap, parts: [map] });
    expect((await next(main)).errno).toBe(0);
  });
  afterEach(() => {
    main.close();
    twin.close();
    server.close();
    device.close();
  });

  test("the server sends requests and receives answers on the second socket", async () => {
    const target = new Uint8Array(8);
    const read = device.host?.memory.read(0x1010, target);
    const request = await next(twin);
    expect(request).toMatchObject({ command: Command.dmaRead, isReply: false });
    expect(dmaAccess.decode(request.payload)).toEqual({ addr: 0x1010n, count: 8n });
    // What it is asked meanwhile is answered.
    main.send({ id: 3, command: Command.deviceReset });
    expect(await next(main)).toMatchObject({ id: 3, errno: 0 });
    twin.send({
      id: request.id,
      command: request.command,
      isReply: true,
      parts: [request.payload, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)],
    });
    await read;
    expect(target).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    const write = device.host?.memory.write(0x1020, Uint8Array.of(9));
    const told = await next(twin);
    expect([...told.payload.subarray(dmaAccess.sizeBytes)]).toEqual([9]);
    twin.send({ id: told.id, command: told.command, isReply: true, errno: Errno.EFAULT });
    expect(await caught(write ?? Promise.resolve())).toMatchObject({ code: "EFAULT" });
  });

  test.each<[string, () => void]>([
    ["asks there", () => twin.send({ id: 1, command: Command.deviceReset })],
    ["answers there what nobody asked", () => twin.send({ id: 77, command: Command.dmaRead, isReply: true })],
    ["closes it", () => twin.close()],
  ])("the server disconnects a client that %s", async (_, act) => {
    const read = caught(device.host?.memory.read(0x1010, new Uint8Array(8)) ?? Promise.resolve());
    await next(twin);
    act();
    expect(await read).toMatchObject({ code: "ERR_IOVA_DEVICE_GONE" });
    expect(server.connected).toBe(false);
  });
});

describe("a client with a second socket", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
    // What the first use of anything keeps for good is there before anything is counted, and what it closes is gone.
    const device = PciDevice.open(`vfio-user:${server.path}`);
    device.dma.alloc(4096);
    device.close();
    await server.left();
  });
  afterAll(() => server.close());
  expectNothingLeftSoon();

  const open = (): PciDevice =>
    PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: 60_000 } });
  const twinVersion = (index?: number): Uint8Array =>
    encodeVersion(undefined, { supported: true, fdIndex: index });
  const ask = (command: number, addr: bigint, count: number, data = new Uint8Array(0)): Buffer =>
    header({
      id: 5,
      command,
      payload: Buffer.concat([dmaAccess.encode({ addr, count: BigInt(count) }), data]),
    });

  test("the client answers on the second socket, also while a request waits", async () => {
    await server.tell({ command: Command.version, payload: twinVersion(1), fds: ["eventfd", "twin"] });
    using device = open();
    using buffer = device.dma.alloc(4096);
    buffer.bytes.fill(0x42, 0, 16);
    const { iova } = buffer;
    await server.tell({
      command: Command.deviceReset,
      overTwin: [ask(Command.dmaRead, iova, 4), ask(Command.dmaWrite, iova + 8n, 1, Uint8Array.of(7))],
    });
    device.reset();
    await vi.waitFor(async () => expect(await server.seen()).toHaveLength(2), { timeout: LIMIT_MS });
    const [read, write] = await server.seen();
    expect(read?.payload.subarray(dmaAccess.sizeBytes)).toEqual(new Uint8Array(4).fill(0x42));
    expect(write).toMatchObject({ errno: 0, command: Command.dmaWrite });
    expect(buffer.bytes[8]).toBe(7);
  });

  test.each<[string, Omit<Lie, "command">]>([
    ["names no socket", { payload: twinVersion(), fds: ["twin"] }],
    ["names one that didn't come", { payload: twinVersion(1), fds: ["twin"] }],
    ["sends none", { payload: twinVersion(0), fds: [] }],
    ["sends what is no socket", { payload: twinVersion(0), fds: ["eventfd", "twin"] }],
  ])("the client disconnects from a server that %s", async (_, lie) => {
    await server.tell({ command: Command.version, ...lie });
    expect(open).toThrow(VfioUserProtocolError);
  });

  test("the client disconnects from a server that answers on the second socket", async () => {
    await server.tell({ command: Command.version, payload: twinVersion(0), fds: ["twin"] });
    using device = open();
    const gone = new Promise((resolve) => device.onPresence(resolve));
    const answer = header({ id: 1, command: Command.deviceReset, flags: 1 });
    await server.tell({ command: Command.deviceReset, overTwin: [answer] });
    device.reset();
    expect(await gone).toMatchObject({ kind: "gone", error: { code: "ERR_IOVA_VFIO_USER" } });
  });
});
