/** A client whose server goes and comes back, or doesn't. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { DevicePresence } from "../../../../src/doors/pci.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { ConfigError, DeviceGoneError, PciDevice } from "../../../../src/index.js";
import { UnixListener } from "../../../../src/sys/unix-socket.js";
import { VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import { Command } from "../../../../src/vfio-user/protocol/protocol.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../../support/edu.js";
import { compileEmulators, emulate, socketPath } from "../../../support/emulators.js";
import { holdings } from "../../../support/holdings.js";
import { expectNothingLeftSoon } from "../../../support/holdings-soon.js";
import { RawServer } from "../../../support/raw-vfio-user.js";
import { header, type Lie } from "../../../support/raw-vfio-user-message.js";
import { nextSignal } from "../../../support/signal.js";
import { skewClock } from "../../../support/skewed-clock.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const REGISTERS = { device: "edu", options: {} } as const;
const NVME = { device: "nvme", options: { sizeBytes: 16 * MIB } } as const;
/** Ends only what never comes. */
const patient = { timeoutMs: 60_000, firstPauseMs: 1, longestPauseMs: 20 };

beforeAll(() => void compileEmulators());

/** What a device tells, one after the other. */
function presences(device: PciDevice): () => Promise<DevicePresence> {
  const come: DevicePresence[] = [];
  let wake = (): void => {};
  device.onPresence((event) => {
    come.push(event);
    wake();
  });
  return async () => {
    for (;;) {
      const event = come.shift();
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}

describe("a server that comes back", () => {
  let socket: string;
  let emulator: RunningEmulator;
  let device: PciDevice;
  let next: () => Promise<DevicePresence>;
  const start = async (what: typeof REGISTERS | typeof NVME): Promise<void> => {
    emulator = await emulate({ ...what, socket });
  };
  const open = async (what: typeof REGISTERS | typeof NVME): Promise<void> => {
    await start(what);
    device = PciDevice.open(emulator.address, { vfioUser: { reconnect: patient } });
    next = presences(device);
  };
  beforeEach(() => {
    socket = socketPath();
  });
  afterEach(async () => {
    device.close();
    await emulator.close();
  });

  test("a server that comes back has memory and interrupts as before, and registers as after a reset", async () => {
    await open(REGISTERS);
    const registers = device.bar(0);
    using interrupts = device.enableInterrupts({ kind: "msi" });
    using buffer = device.dma.alloc(2 * PAGE, { addressBits: 28 });
    const closedMeanwhile = device.dma.alloc(PAGE, { addressBits: 28 });
    buffer.bytes.fill(0x6b, 0, 64);
    registers.write32(EduRegister.liveness, 1);
    device.config.busMaster = true;
    for (let round = 0; round < 3; round++) {
      await emulator.close();
      expect(await next()).toMatchObject({ kind: "gone", retrying: true });
      expect(() => registers.read32(EduRegister.liveness)).toThrow(DeviceGoneError);
      expect(() => device.dma.alloc(PAGE)).toThrow(DeviceGoneError);
      closedMeanwhile.close();
      await start(REGISTERS);
      expect(await next()).toEqual({ kind: "back" });
      expect(registers.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
      expect(registers.read32(EduRegister.liveness)).toBe(0);
      expect(device.config.busMaster).toBe(false);
      const edu = new Edu(device.io);
      await edu.load(buffer.iova, 64);
      buffer.bytes.fill(0, PAGE);
      await edu.store(buffer.iova + BigInt(PAGE), 64);
      expect(buffer.view(PAGE, 64).every((byte) => byte === 0x6b)).toBe(true);
      const signal = nextSignal(interrupts, 0);
      edu.raise(1);
      expect(await signal).toBe(1);
    }
  });

  test("a server that comes back has its mapped registers under the existing view", async () => {
    await open(NVME);
    const mapped = device.bar(0).map(PAGE, PAGE);
    const { words } = mapped;
    words[500] = 1;
    expect(device.bar(0).read32(PAGE + 4 * 500)).toBe(1);
    await emulator.close();
    await next();
    // Nobody's any more, and harmless.
    words[500] = 2;
    await start(NVME);
    expect(await next()).toEqual({ kind: "back" });
    expect(words[500]).toBe(0);
    words[500] = 3;
    expect(device.bar(0).read32(PAGE + 4 * 500)).toBe(3);
    expect(mapped.words).toBe(words);
    mapped.close();
    expect(words[500]).toBe(0);
  });

  test("a server with another device doesn't count as back", async () => {
    await open(NVME);
    await emulator.close();
    await next();
    await start(REGISTERS);
    await sleep(100);
    expect(() => device.config.busMaster).toThrow(DeviceGoneError);
    await emulator.close();
    await start(NVME);
    expect(await next()).toEqual({ kind: "back" });
    expect(device.config.busMaster).toBe(false);
  });

  test("reconnecting leaves no descriptors or mappings behind", async () => {
    await open(NVME);
    using _interrupts = device.enableInterrupts({ kind: "msix", count: 4 });
    using _buffer = device.dma.alloc(PAGE);
    using _mapping = device.bar(0).map(PAGE, PAGE);
    const before = holdings();
    await emulator.close();
    await next();
    await start(NVME);
    await next();
    expect(holdings()).toEqual(before);
  });
});

describe("a server that doesn't come back", () => {
  expectNothingLeftSoon();

  test("a server stays gone without reconnect", async () => {
    const emulator = await emulate(REGISTERS);
    using device = PciDevice.open(emulator.address);
    const next = presences(device);
    await emulator.close();
    expect(await next()).toMatchObject({ kind: "gone", retrying: false });
  });

  test("a server is lost after the time limit", async () => {
    const emulator = await emulate(REGISTERS);
    const clock = skewClock();
    using device = PciDevice.open(emulator.address, { vfioUser: { reconnect: patient } });
    const next = presences(device);
    await emulator.close();
    expect(await next()).toMatchObject({ kind: "gone", retrying: true });
    clock.advance(patient.timeoutMs);
    const last = await next();
    expect(last).toMatchObject({ kind: "lost", error: { code: "ENOENT" } });
    expect(() => device.config.busMaster).toThrow(DeviceGoneError);
  });

  test("another listener that sends nothing doesn't block the event loop", async () => {
    const emulator = await emulate(REGISTERS);
    const clock = skewClock();
    using device = PciDevice.open(emulator.address, { vfioUser: { timeoutMs: 2000, reconnect: patient } });
    const next = presences(device);
    await emulator.close();
    using _ = new UnixListener(emulator.address.slice("vfio-user:".length));
    await next();
    // The time is up, and the next attempt the last.
    clock.advance(patient.timeoutMs);
    expect(await next()).toMatchObject({ kind: "lost", error: { code: "ERR_IOVA_TIMEOUT" } });
  });

  test("a device can be closed while its server is gone", async () => {
    const emulator = await emulate(REGISTERS);
    const device = PciDevice.open(emulator.address, { vfioUser: { reconnect: patient } });
    using interrupts = device.enableInterrupts({ kind: "msi" });
    using buffer = device.dma.alloc(PAGE);
    const next = presences(device);
    await emulator.close();
    await next();
    device.close();
    expect([interrupts.closed, buffer.closed]).toEqual([true, true]);
    const again = await emulate({ ...REGISTERS, socket: emulator.address.slice("vfio-user:".length) });
    await sleep(50);
    using other = PciDevice.open(again.address);
    expect(other.config.busMaster).toBe(false);
    other.close();
    await again.close();
  });

  test.each([
    { reconnect: { timeoutMs: 0 } },
    { reconnect: { firstPauseMs: 0.5 } },
    { reconnect: { longestPauseMs: 2 ** 31 } },
    { reconnect: { tries: 3 } },
    { reconnect: 3 },
    { reconnnect: true },
  ])("refuses %j as reconnect", (options) => {
    const vfioUser = options as { reconnect: boolean };
    expect(() => PciDevice.open("vfio-user:/nowhere", { vfioUser })).toThrow(ConfigError);
  });
});

describe("a server that comes back and breaks the protocol", () => {
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

  const version = (json: string): Uint8Array => Buffer.from(`\0\0\x01\0${json}`);
  const region = { command: Command.deviceGetRegionInfo, region: 0 };
  test.each<[string, Lie]>([
    ["hangs up instead of its version", { command: Command.version, raw: new Uint8Array(0), hangUp: true }],
    ["says nothing", { command: Command.version, silent: true }],
    ["has no sense to tell", { command: Command.version, payload: version("{") }],
    [
      "takes no mapping any more",
      { command: Command.version, payload: version('{"capabilities":{"max_dma_maps":1}}') },
    ],
    ["asks before its version", { command: Command.version, before: [header({ command: Command.dmaRead })] }],
    ["refuses a mapping", { command: Command.dmaMap, errno: 12, flags: 0x21 }],
    ["hangs up at a mapping", { command: Command.dmaMap, hangUp: true, raw: new Uint8Array(0) }],
    ["refuses interrupts", { command: Command.deviceSetIrqs, errno: 22, flags: 0x21 }],
    ["gives a file that could be cut short", { ...region, fds: ["unsealed"] }],
    ["gives no file", { ...region, fds: [] }],
    ["gives a file that is too short", { ...region, fds: ["short"] }],
    ["gives rubbish about its region", { ...region, payload: Buffer.alloc(32, 0xff) }],
    ["doesn't answer a reset", { command: Command.deviceReset, silent: true }],
  ])("a server that %s is back only once it answers correctly", async (_, lie) => {
    await server.tell();
    using device = PciDevice.open(`vfio-user:${server.path}`, {
      vfioUser: { timeoutMs: 2000, reconnect: patient },
    });
    const next = presences(device);
    // Each with a mapping of its own.
    using _one = device.dma.alloc(PAGE, { shared: true });
    using _other = device.dma.alloc(PAGE, { shared: true });
    using _interrupts = device.enableInterrupts({ kind: "msix", count: 2 });
    using mapping = device.bar(0).map();
    const { words } = mapping;
    // Once to make it go, once for the first attempt to reconnect.
    await server.tell({ command: Command.regionWrite, hangUp: true, raw: new Uint8Array(0) }, lie);
    expect(() => device.io.writeRegion(7, 4, new Uint8Array(2))).toThrow();
    const gone = await next();
    expect(gone).toMatchObject({ kind: "gone", retrying: true });
    expect(await next()).toEqual({ kind: "back" });
    words[0] = 7;
    expect(device.config.busMaster).toBe(false);
  });

  test("a server that never answers correctly is lost, with the last error", async () => {
    const lie: Lie = { command: Command.version, payload: version("{") };
    const clock = skewClock();
    await server.tell();
    using device = PciDevice.open(`vfio-user:${server.path}`, {
      vfioUser: { timeoutMs: 60_000, reconnect: patient },
    });
    const next = presences(device);
    await server.tell(
      { command: Command.regionWrite, hangUp: true, raw: new Uint8Array(0) },
      ...new Array<Lie>(1000).fill(lie),
    );
    expect(() => device.io.writeRegion(7, 4, new Uint8Array(2))).toThrow(DeviceGoneError);
    await next();
    clock.advance(patient.timeoutMs);
    const lost = await next();
    expect(lost.kind === "lost" && lost.error).toBeInstanceOf(VfioUserProtocolError);
  });
});
