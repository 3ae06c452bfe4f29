/** The server against clients that break the protocol, and against bad socket paths. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { BusyError } from "../../../../src/core/errors.js";
import { ArgumentError } from "../../../../src/index.js";
import { EventFd } from "../../../../src/sys/eventfd.js";
import { close } from "../../../../src/sys/syscalls.js";
import { Command, regionAccess } from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import {
  device,
  file,
  find,
  idle,
  mapping,
  negotiated,
  PAGE,
  serveBadClients,
  server,
} from "../../../support/bad-client.js";
import { socketPath } from "../../../support/emulators.js";
import { RawClient } from "../../../support/raw-vfio-user.js";
import { header } from "../../../support/raw-vfio-user-message.js";

const { EINVAL, ENOTTY } = Errno;

serveBadClients();

describe("messages", () => {
  test("end the connection before VERSION", async () => {
    for (const command of Object.values(Command)) {
      if (command === Command.version) continue;
      using client = new RawClient(server.path);
      expect(await client.ask(command, new Uint8Array(64))).toBeUndefined();
      await idle();
    }
    expect(device.counts.connects).toBe(0);
  });

  test("end the connection if VERSION is malformed or of another major version", async () => {
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
  ])("of a client that speaks 0.%i are answered with 0.%i", async (theirs, ours) => {
    using client = new RawClient(server.path);
    const payload = encodeVersion();
    Buffer.from(payload.buffer, payload.byteOffset).writeUInt16LE(theirs, 2);
    const reply = await client.ask(Command.version, payload);
    expect(Buffer.from(reply?.payload ?? []).readUInt32LE(0)).toBe(ours << 16);
  });

  test("are refused if they are a second VERSION", async () => {
    using client = await negotiated();
    expect(await client.errnoOf(Command.version, encodeVersion())).toBe(EINVAL);
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
    expect(device.counts).toMatchObject({ connects: 1, resets: 1 });
  });

  test("are refused with ENOTTY if the command is unknown, or only servers send it", async () => {
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

  test.each([0, 15, 2 * 1024 * 1024, 0xffff_ffff])("that claim %i bytes end the connection", async (size) => {
    using client = await negotiated();
    await client.send(header({ command: Command.deviceReset, size }));
    expect(await client.receive()).toBeUndefined();
    expect(device.counts.resets).toBe(0);
  });

  test.each([1, 15, 16, 20])("that end after %i bytes leave no descriptor open", async (length) => {
    const client = await negotiated();
    const fd = file(1);
    await client.send(header({ command: Command.dmaMap, payload: mapping({}) }).subarray(0, length), [fd]);
    close(fd);
    client.close();
  });

  test("are served when they arrive byte by byte", async () => {
    using client = await negotiated();
    const fd = file(1);
    const bytes = header({ id: 9, command: Command.dmaMap, payload: mapping({}) });
    for (let i = 0; i < bytes.length; i++) await client.send(bytes.subarray(i, i + 1), i === 20 ? [fd] : []);
    close(fd);
    expect(await client.receive()).toMatchObject({ id: 9, errno: 0 });
    expect(find(0x10_0000, PAGE)).toBe(true);
  });

  test("with far too many descriptors end the connection", async () => {
    using client = await negotiated();
    using event = new EventFd();
    const fds = new Array<number>(253).fill(event.fd);
    expect(await client.ask(Command.deviceReset, undefined, fds)).toBeUndefined();
  });

  test("have unexpected descriptors closed", async () => {
    using client = await negotiated();
    using event = new EventFd();
    const fds = new Array<number>(60).fill(event.fd);
    expect(await client.errnoOf(Command.deviceReset, undefined, fds)).toBe(0);
    expect(await client.errnoOf(0xff, undefined, fds)).toBe(ENOTTY);
  });

  test("end the connection if they answer no request", async () => {
    using client = await negotiated();
    await client.send(header({ command: Command.dmaRead, flags: 1, payload: new Uint8Array(16) }));
    expect(await client.receive()).toBeUndefined();
  });

  test("whose answers the client doesn't read end the connection", async () => {
    using client = await negotiated();
    const request = header({
      command: Command.regionRead,
      payload: regionAccess.encode({ region: 0, offset: 0n, count: 16384 }),
    });
    const all = Buffer.concat(new Array<Buffer>(64).fill(request));
    await client.send(all);
    await idle();
  });

  test("that never arrive don't keep other clients out, and end in time", async () => {
    using quiet = new RawClient(server.path);
    using half = new RawClient(server.path);
    await half.send(header({ command: Command.version }).subarray(0, 7));
    using client = await negotiated();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
    expect(await quiet.receive()).toBeUndefined();
    expect(await half.receive()).toBeUndefined();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });

  test("of a second client are refused with EBUSY, also if it connected first", async () => {
    using late = new RawClient(server.path);
    using client = await negotiated();
    expect(await late.ask(Command.version, encodeVersion())).toMatchObject({ errno: Errno.EBUSY });
    expect(await late.receive()).toBeUndefined();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });

  test("that never arrive from many clients end the oldest connections", async () => {
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

  test("of a second client end its connection", async () => {
    using client = await negotiated();
    using second = new RawClient(server.path);
    expect(await second.receive()).toBeUndefined();
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });
});

describe("the path of a VfioUserServer", () => {
  test("is refused if another server has it, or no socket can be made there", () => {
    expect(() => new VfioUserServer(server.path, device)).toThrow(BusyError);
    const folder = mkdtempSync(join(tmpdir(), "iova-listen-"));
    expect(() => new VfioUserServer(folder, device)).toThrow(/EADDRINUSE.*there is a folder at this path/);
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(() => new VfioUserServer(file, device)).toThrow(
      /EADDRINUSE.*there is a file at this path that is not a socket: remove it/,
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
