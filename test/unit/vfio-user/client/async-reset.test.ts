/** resetAsync() of a device behind a socket: the answer comes through the event loop. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ArgumentError,
  BusyError,
  ClosedError,
  DeviceGoneError,
  PciDevice,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "../../../../src/index.js";
import { VfioUserClient } from "../../../../src/vfio-user/client/client.js";
import { VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import { Command, dmaAccess } from "../../../../src/vfio-user/protocol/protocol.js";
import { caught } from "../../../support/caught.js";
import { expectNothingLeftSoon } from "../../../support/holdings-soon.js";
import { RawServer } from "../../../support/raw-vfio-user.js";
import { header, type Lie } from "../../../support/raw-vfio-user-message.js";

/** Longer than any answer takes on a busy machine. */
const PATIENT_MS = 60_000;
/** For tests of the limit itself. */
const TIMEOUT_MS = 2000;

describe("resetAsync() over vfio-user", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
    // What the first use of anything keeps for good is there before anything is counted, and what it closes is gone.
    const device = PciDevice.open(`vfio-user:${server.path}`);
    device.bar(0).map().close();
    device.close();
    await server.left();
  });
  afterAll(() => server.close());
  expectNothingLeftSoon();

  async function open(timeoutMs: number, ...lies: readonly Lie[]): Promise<PciDevice> {
    await server.tell(...lies);
    return PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs } });
  }

  test("lets the event loop turn, and keeps the device from being closed meanwhile", async () => {
    using device = await open(PATIENT_MS, { command: Command.deviceReset, silent: true });
    let isOver = false;
    const reset = caught(device.resetAsync()).finally(() => {
      isOver = true;
    });
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    expect(isOver).toBe(false);
    expect(() => device.close()).toThrow(BusyError);
    expect(() => device.close()).toThrow("a reset under way");
    await server.tell({ command: Command.regionRead, hangUp: true });
    expect(device.config.read16(0)).toBe(0x1234);
    expect(await reset).toBeInstanceOf(DeviceGoneError);
    expect(isOver).toBe(true);
  });

  test("enables the interrupts again that the server may have reset", async () => {
    using device = await open(PATIENT_MS);
    using interrupts = device.enableInterrupts({ kind: "msix" });
    await device.resetAsync();
    expect(interrupts.closed).toBe(false);
  });

  test("leaves requests of the same turn their own answers", async () => {
    using device = await open(PATIENT_MS);
    const resets = [device.resetAsync(), device.resetAsync()];
    expect(device.config.read16(0)).toBe(0x1234);
    const other = device.resetAsync();
    expect(device.io.irqInfo(2).count).toBe(4);
    await Promise.all([...resets, other]);
  });

  test("answers the server's own requests meanwhile", async () => {
    const before = header({
      command: Command.dmaRead,
      payload: dmaAccess.encode({ addr: 0n, count: 8n }),
    });
    using device = await open(PATIENT_MS, { command: Command.deviceReset, before: [before] });
    await device.resetAsync();
    device.config.read16(0);
    expect(await server.seen()).toHaveLength(1);
  });

  test.each<[string, Omit<Lie, "command">, new (...args: never[]) => Error]>([
    ["an errno", { errno: 5, flags: 0x21 }, SysError],
    ["that it has no reset", { errno: 95, flags: 0x21 }, UnsupportedError],
  ])("rejects where the server answers %s, and the device goes on", async (_, lie, kind) => {
    using device = await open(PATIENT_MS, { command: Command.deviceReset, ...lie });
    expect(await caught(device.resetAsync())).toBeInstanceOf(kind);
    await device.resetAsync();
  });

  test.each<[string, Omit<Lie, "command">, new (...args: never[]) => Error]>([
    ["hangs up", { raw: new Uint8Array(0), hangUp: true }, DeviceGoneError],
    ["answers another command", { answersCommand: Command.regionRead }, VfioUserProtocolError],
    ["sends rubbish", { raw: new Uint8Array(64).fill(0xff) }, VfioUserProtocolError],
  ])("ends the connection where the server %s", async (_, lie, kind) => {
    using device = await open(PATIENT_MS, { command: Command.deviceReset, ...lie });
    const gone = new Promise<string>((resolve) => device.onPresence(({ kind }) => resolve(kind)));
    expect(await caught(device.resetAsync())).toBeInstanceOf(kind);
    expect(await gone).toBe("gone");
    expect(await caught(device.resetAsync())).toBeInstanceOf(DeviceGoneError);
  });

  test("rejects at the time limit, and ends the connection", async () => {
    using device = await open(TIMEOUT_MS, { command: Command.deviceReset, silent: true });
    const gone = new Promise<string>((resolve) => device.onPresence(({ kind }) => resolve(kind)));
    expect(await caught(device.resetAsync())).toBeInstanceOf(TimeoutError);
    expect(await gone).toBe("gone");
  });

  test("takes an answer that came while the thread was busy beyond the time limit", async () => {
    using device = await open(TIMEOUT_MS);
    const reset = device.resetAsync();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TIMEOUT_MS + 100);
    await reset;
  });

  test("rejects with a ClosedError where the client is closed meanwhile, or was before", async () => {
    await server.tell({ command: Command.deviceReset, silent: true });
    const client = VfioUserClient.connect(server.path, { timeoutMs: PATIENT_MS });
    const answer = caught(client.requestAsync(Command.deviceReset));
    client.close();
    expect(await answer).toBeInstanceOf(ClosedError);
    const device = await open(PATIENT_MS);
    device.close();
    expect(await caught(device.resetAsync())).toBeInstanceOf(ClosedError);
  });

  test("a request with anything else than descriptors among them is refused before it is sent", async () => {
    await server.tell();
    using client = VfioUserClient.connect(server.path, { timeoutMs: PATIENT_MS });
    const detached = new Uint32Array(2);
    structuredClone(detached, { transfer: [detached.buffer] });
    for (const wrong of [-1, 1.5, "0", detached, null])
      expect(() => Reflect.apply(client.request, client, [Command.deviceReset, [], [wrong]])).toThrow(
        ArgumentError,
      );
    client.request(Command.deviceReset);
  });
});
