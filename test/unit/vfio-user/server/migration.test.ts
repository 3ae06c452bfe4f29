/** Migration and DMA logging between our servers, and servers that break the protocol in them. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { VfioUserDevice, VfioUserDmaLogging, VfioUserMigration } from "../../../../src/doors/vfio-user.js";
import { EmulatedEdu } from "../../../../src/emulator/edu/device.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { ArgumentError, PciDevice, UnsupportedError } from "../../../../src/index.js";
import {
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
  VFIO_DEVICE_FEATURE_GET,
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  VFIO_DEVICE_FEATURE_MIGRATION,
  VFIO_DEVICE_FEATURE_PROBE,
  VFIO_DEVICE_FEATURE_SET,
  vfio_device_feature,
  vfio_device_feature_dma_logging_range,
  vfio_device_feature_mig_state,
  vfio_device_feature_migration,
} from "../../../../src/vfio/uapi-feature.js";
import { VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import {
  Command,
  loggingControl,
  loggingReport,
  migrationData,
} from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { Edu, EduRegister } from "../../../support/edu.js";
import { emulate, socketPath } from "../../../support/emulators.js";
import { sysError } from "../../../support/errors.js";
import { RawClient, RawServer } from "../../../support/raw-vfio-user.js";
import type { Lie } from "../../../support/raw-vfio-user-message.js";
import { nextSignal } from "../../../support/signal.js";

const PAGE = 4096;
const EDU = { device: "edu", options: {} } as const;

function vfioUser(device: PciDevice): VfioUserDevice {
  if (!(device.io instanceof VfioUserDevice)) throw new Error("not behind a socket");
  return device.io;
}

describe("a device that is moved", () => {
  let emulators: RunningEmulator[];
  let source: PciDevice;
  let target: PciDevice;
  beforeAll(async () => {
    emulators = [await emulate(EDU), await emulate(EDU)];
  });
  afterAll(async () => {
    for (const emulator of emulators) await emulator.close();
  });
  beforeEach(() => {
    const [from, to] = emulators.map(({ address }) => PciDevice.open(address));
    if (from === undefined || to === undefined) throw new Error("two emulators");
    source = from;
    target = to;
    for (const device of [source, target]) device.reset();
  });
  afterEach(() => {
    source.close();
    target.close();
  });

  test("a moved device continues with its registers, memory and configuration space", async () => {
    const edu = new Edu(source.io);
    using out = source.dma.alloc(PAGE, { iova: 0x10_0000n });
    using back = target.dma.alloc(PAGE, { iova: 0x10_0000n });
    out.bytes.fill(0x7e, 0, 1000);
    await edu.load(out.iova, 1000, 24);
    edu.registers.write32(EduRegister.liveness, 0x1234);
    edu.raise(0x40);
    const from = new VfioUserMigration(vfioUser(source));
    const to = new VfioUserMigration(vfioUser(target));
    expect(from.support).toEqual({ stopCopy: true, p2p: false, preCopy: false });
    expect(from.state).toBe("running");
    const state = from.save(100);
    expect(from.state).toBe("stop-copy");
    using stream = to.setState("resuming");
    for (let at = 0; at < state.length; at += 333) stream?.write(state.subarray(at, at + 333));
    expect(target.config.busMaster).toBe(false);
    expect(to.setState("running")).toBeUndefined();
    expect(to.state).toBe("running");
    expect(target.config.busMaster).toBe(true);
    expect(target.bar(0).read32(EduRegister.liveness)).toBe(~0x1234 >>> 0);
    expect(target.bar(0).read32(EduRegister.interruptStatus)).toBe(0x40);
    await new Edu(target.io).store(back.iova, 1000, 24);
    expect(back.view(0, 1000).every((byte) => byte === 0x7e)).toBe(true);
    // The one it was moved from is still that one, too.
    from.setState("running");
    expect(edu.registers.read32(EduRegister.liveness)).toBe(~0x1234 >>> 0);
  });

  test("a moved device finishes its transfer at the new server, and interrupts there", async () => {
    const edu = new Edu(source.io);
    using back = target.dma.alloc(PAGE, { iova: 0x20_0000n });
    using out = source.dma.alloc(PAGE, { iova: 0x20_0000n });
    // What enables interrupts is in configuration space, which moves along.
    using _ = source.enableInterrupts({ kind: "msi" });
    using interrupts = target.enableInterrupts({ kind: "msi" });
    const from = new VfioUserMigration(vfioUser(source));
    const to = new VfioUserMigration(vfioUser(target));
    from.setState("stop");
    out.bytes.fill(1);
    edu.startStore(out.iova, 64, 0, true);
    const state = from.save();
    back.bytes.fill(1);
    to.setState("resuming")?.write(state);
    const signal = nextSignal(interrupts, 0);
    to.setState("running");
    expect(await signal).toBe(1);
    expect(back.view(0, 64).every((byte) => byte === 0)).toBe(true);
    expect(out.view(0, 64).every((byte) => byte === 1)).toBe(true);
  });

  test("a stopped device moves no memory", async () => {
    const edu = new Edu(source.io);
    using buffer = source.dma.alloc(PAGE, { addressBits: 28 });
    const migration = new VfioUserMigration(vfioUser(source));
    migration.setState("stop");
    buffer.bytes.fill(5);
    edu.startStore(buffer.iova, 64);
    for (let i = 0; i < 5; i++) expect(edu.busy).toBe(true);
    expect(buffer.bytes.every((byte) => byte === 5)).toBe(true);
    migration.setState("running");
    while (edu.busy) await new Promise((resolve) => setImmediate(resolve));
    expect(buffer.view(0, 64).every((byte) => byte === 0)).toBe(true);
  });

  test("a device refuses an invalid state, and works again after a reset", () => {
    const from = new VfioUserMigration(vfioUser(source));
    const to = new VfioUserMigration(vfioUser(target));
    const state = from.save();
    const wrong = (change: (bytes: Uint8Array) => Uint8Array): Uint8Array => change(state.slice());
    const set = (at: number, value: number): Uint8Array =>
      wrong((bytes) => {
        bytes[at] = value;
        return bytes;
      });
    const states: readonly Uint8Array[] = [
      new Uint8Array(0),
      wrong((bytes) => bytes.subarray(0, -1)),
      set(0, 0),
      set(4, 9),
      set(8, 1),
      set(12, 1),
      // Vendor id.
      set(16, 0xff),
      // The first double: no integer.
      set(16 + 256 + 7, 0x7f),
    ];
    for (const each of states) {
      to.setState("resuming")?.write(each);
      expect(() => to.setState("running")).toThrow(sysError("VFIO_USER_DEVICE_FEATURE", "EINVAL"));
      expect(to.state).toBe("error");
      expect(() => to.setState("stop")).toThrow("EINVAL");
      target.reset();
      expect(to.state).toBe("running");
    }
    const stream = to.setState("resuming");
    expect(() => stream?.write(new Uint8Array(1024 * 1024))).toThrow(
      sysError("VFIO_USER_MIG_DATA_WRITE", "ENOSPC"),
    );
    stream?.write(state);
    expect(() => stream?.write(new Uint8Array(1))).toThrow("ENOSPC");
    to.setState("running");
    expect(to.state).toBe("running");
  });

  test("a device refuses transitions between states that don't exist", () => {
    const migration = new VfioUserMigration(vfioUser(source));
    for (const state of ["error", "running-p2p", "pre-copy", "pre-copy-p2p"] as const) {
      expect(() => migration.setState(state)).toThrow("EINVAL");
      expect(migration.state).toBe("running");
    }
    expect(() => migration.setState("away" as "stop")).toThrow(ArgumentError);
    const stream = migration.setState("stop-copy");
    expect(() => stream?.write(new Uint8Array(1))).toThrow("EINVAL");
    migration.setState("resuming");
    expect(() => stream?.read(new Uint8Array(1))).toThrow("EINVAL");
    expect(() => migration.setState("stop-copy")).toThrow("EINVAL");
    source.reset();
    for (const state of [
      "stop",
      "stop-copy",
      "stop-copy",
      "stop",
      "running",
      "stop-copy",
      "running",
    ] as const) {
      migration.setState(state);
      expect(migration.state).toBe(state);
    }
  });

  test("a device runs for the next client, in whatever state the previous one left it", () => {
    for (const state of ["stop", "stop-copy", "resuming"] as const) {
      new VfioUserMigration(vfioUser(source)).setState(state);
      const address = source.bdf;
      source.close();
      source = PciDevice.open(address);
      expect(new VfioUserMigration(vfioUser(source)).state).toBe("running");
    }
  });

  test("a report tells once which pages the device wrote to", async () => {
    const edu = new Edu(source.io);
    using buffer = source.dma.alloc(8 * PAGE, { iova: 0x40_0000n });
    const logging = new VfioUserDmaLogging(vfioUser(source));
    expect(logging.supported).toBe(true);
    expect(() => logging.report(buffer.iova, 8 * PAGE, PAGE)).toThrow("EINVAL");
    logging.start(PAGE, [{ iova: buffer.iova, sizeBytes: 6 * PAGE }]);
    expect(() => logging.start(PAGE, [])).toThrow("EINVAL");
    await edu.load(buffer.iova + BigInt(2 * PAGE), 64);
    await edu.store(buffer.iova + BigInt(PAGE) - 32n, 64);
    await edu.store(buffer.iova + BigInt(4 * PAGE), 64);
    await edu.store(buffer.iova + BigInt(7 * PAGE), 64);
    const dirty = logging.report(buffer.iova, 8 * PAGE, PAGE);
    expect([...dirty]).toEqual([
      { iova: buffer.iova, sizeBytes: 2 * PAGE },
      { iova: buffer.iova + BigInt(4 * PAGE), sizeBytes: PAGE },
    ]);
    expect(logging.report(buffer.iova, 8 * PAGE, PAGE).dirtyPages).toBe(0);
    await edu.store(buffer.iova + BigInt(PAGE), 64);
    expect([...logging.report(buffer.iova, 8 * PAGE, 1024)]).toEqual([
      { iova: buffer.iova + BigInt(PAGE), sizeBytes: PAGE },
    ]);
    await edu.store(buffer.iova + BigInt(PAGE), 64);
    expect([...logging.report(buffer.iova, 8 * PAGE, 4 * PAGE)]).toEqual([
      { iova: buffer.iova, sizeBytes: 4 * PAGE },
    ]);
    logging.stop();
    await edu.store(buffer.iova, 64);
    logging.start(PAGE, []);
    expect(logging.report(buffer.iova, 8 * PAGE, PAGE).dirtyPages).toBe(0);
    logging.stop();
  });
});

describe("a client that breaks the protocol", () => {
  const { E2BIG, EINVAL, ENOTTY } = Errno;
  let server: VfioUserServer;
  let client: RawClient;
  beforeEach(async () => {
    server = new VfioUserServer(socketPath(), new EmulatedEdu());
    client = new RawClient(server.path);
    await client.ask(Command.version, encodeVersion());
  });
  afterEach(() => {
    client.close();
    server.close();
  });

  const get = VFIO_DEVICE_FEATURE_GET;
  const set = VFIO_DEVICE_FEATURE_SET;
  const probe = VFIO_DEVICE_FEATURE_PROBE;
  const feature = (flags: number, data: Uint8Array = new Uint8Array(0), argsz = 4096): Uint8Array =>
    Buffer.concat([vfio_device_feature.encode({ argsz, flags }), data]);
  const state = (device_state: number): Uint8Array => vfio_device_feature_mig_state.encode({ device_state });
  const control = (page_size: bigint, num_ranges: number, ...ranges: [bigint, bigint][]): Uint8Array =>
    Buffer.concat([
      loggingControl.encode({ page_size, num_ranges }),
      ...ranges.map(([iova, length]) => vfio_device_feature_dma_logging_range.encode({ iova, length })),
    ]);
  const START = VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
  const REPORT = VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
  const report = (iova: bigint, length: bigint, page_size: bigint): Uint8Array =>
    loggingReport.encode({ iova, length, page_size });

  test.each<[string, Uint8Array, number]>([
    ["nothing", new Uint8Array(0), EINVAL],
    ["half a header", new Uint8Array(7), EINVAL],
    ["no direction", feature(VFIO_DEVICE_FEATURE_MIGRATION), EINVAL],
    ["both directions", feature(get | set | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, state(1)), EINVAL],
    ["an unknown feature", feature(get | 999), ENOTTY],
    ["a feature that can't be set", feature(set | VFIO_DEVICE_FEATURE_MIGRATION), ENOTTY],
    ["a probe of both where one is there", feature(probe | get | set | START), ENOTTY],
    ["half a state", feature(set | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, new Uint8Array(3)), EINVAL],
    ["a state beyond all", feature(set | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, state(99)), EINVAL],
    ["more ranges than come", feature(set | START, control(4096n, 2, [0n, 4096n])), EINVAL],
    ["more ranges than anybody needs", feature(set | START, control(4096n, 0xffff_ffff)), E2BIG],
    ["a page size of 0", feature(set | START, control(0n, 0)), EINVAL],
    ["a page size between", feature(set | START, control(4097n, 0)), EINVAL],
    ["a range of nothing", feature(set | START, control(4096n, 1, [0n, 0n])), EINVAL],
    ["a range beyond the end", feature(set | START, control(4096n, 1, [2n ** 64n - 1n, 2n])), EINVAL],
    ["ranges that overlap", feature(set | START, control(4096n, 2, [8192n, 1n], [0n, 8193n])), EINVAL],
    ["a report of what isn't logged", feature(get | REPORT, report(0n, 4096n, 4096n)), EINVAL],
  ])("refuses a client that asks for %s", async (_, payload, errno) => {
    expect(await client.errnoOf(Command.deviceFeature, payload)).toBe(errno);
    expect(await client.errnoOf(Command.deviceReset)).toBe(0);
  });

  test("refuses a report of a wrong size", async () => {
    expect(await client.errnoOf(Command.deviceFeature, feature(set | START, control(4096n, 0)))).toBe(0);
    for (const [iova, length, pageBytes, errno] of [
      [0n, 2n ** 63n, 4096n, E2BIG],
      [0n, 2n ** 40n, 1n, E2BIG],
      [0n, 0n, 4096n, EINVAL],
      [2n ** 64n - 1n, 2n, 4096n, EINVAL],
      [0n, 4096n, 0n, EINVAL],
      [0n, 4096n, 3n, EINVAL],
      [0n, 2n ** 64n - 1n, 2n ** 63n, 0],
    ] as const) {
      const payload = feature(get | REPORT, report(iova, length, pageBytes));
      expect(await client.errnoOf(Command.deviceFeature, payload)).toBe(errno);
    }
    expect(await client.errnoOf(Command.deviceFeature, feature(get | REPORT, new Uint8Array(23)))).toBe(
      EINVAL,
    );
  });

  test("tells a client with too little room how much it needs", async () => {
    const answer = await client.ask(
      Command.deviceFeature,
      feature(get | VFIO_DEVICE_FEATURE_MIGRATION, undefined, 8),
    );
    expect(answer).toMatchObject({ errno: 0 });
    expect(answer?.payload).toHaveLength(8);
    expect(vfio_device_feature.decode(answer?.payload ?? new Uint8Array(0)).argsz).toBe(16);
  });

  test("refuses invalid requests for migration data", async () => {
    const data = (size: number, bytes = 0): Uint8Array =>
      Buffer.concat([migrationData.encode({ argsz: 8, size }), new Uint8Array(bytes)]);
    expect(await client.errnoOf(Command.migDataRead, data(16))).toBe(EINVAL);
    expect(await client.errnoOf(Command.migDataWrite, data(16, 16))).toBe(EINVAL);
    const to = (device_state: number): Uint8Array =>
      feature(set | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, state(device_state));
    const STOP_COPY = 3;
    const RESUMING = 4;
    expect(await client.errnoOf(Command.deviceFeature, to(STOP_COPY))).toBe(0);
    expect(await client.errnoOf(Command.migDataRead, data(0xffff_ffff))).toBe(EINVAL);
    expect(await client.errnoOf(Command.migDataRead, new Uint8Array(5))).toBe(EINVAL);
    expect((await client.ask(Command.migDataRead, data(0)))?.payload).toHaveLength(8);
    expect(await client.errnoOf(Command.deviceFeature, to(RESUMING))).toBe(0);
    expect(await client.errnoOf(Command.migDataWrite, data(16, 15))).toBe(EINVAL);
    expect(await client.errnoOf(Command.migDataWrite, data(15, 16))).toBe(EINVAL);
    expect(await client.errnoOf(Command.migDataWrite, data(16, 16))).toBe(0);
    const STOP = VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
    expect(await client.errnoOf(Command.deviceFeature, feature(set | STOP))).toBe(0);
  });
});

describe("a server that breaks the protocol", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
  });
  afterAll(() => server.close());

  const feature = (...data: Uint8Array[]): Uint8Array =>
    Buffer.concat([vfio_device_feature.encode({ flags: 0 }), ...data]);
  const supported: Lie = {
    command: Command.deviceFeature,
    payload: feature(vfio_device_feature_migration.encode({ flags: 1n })),
  };
  async function open(...lies: Lie[]): Promise<PciDevice> {
    await server.tell();
    const device = PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: 60_000 } });
    await server.tell(...lies);
    return device;
  }

  test.each<[string, Lie]>([
    ["too little", { command: Command.deviceFeature, payload: new Uint8Array(7) }],
    ["too much", { command: Command.deviceFeature, payload: new Uint8Array(64) }],
    ["nothing", { command: Command.deviceFeature }],
  ])("a server that sends %s about migration is a protocol error", async (_, lie) => {
    using device = await open(lie);
    expect(() => new VfioUserMigration(vfioUser(device))).toThrow(VfioUserProtocolError);
  });

  test("a server without features can't migrate its device", async () => {
    using device = await open({ command: Command.deviceFeature, errno: Errno.ENOTTY, flags: 0x21 });
    expect(() => new VfioUserMigration(vfioUser(device))).toThrow(UnsupportedError);
    await server.tell({ command: Command.deviceFeature, errno: Errno.EINVAL, flags: 0x21 });
    expect(new VfioUserDmaLogging(vfioUser(device)).supported).toBe(false);
  });

  test("an unknown migration state is a protocol error", async () => {
    const odd = {
      command: Command.deviceFeature,
      payload: feature(vfio_device_feature_mig_state.encode({ device_state: 77 })),
    };
    using device = await open(supported, odd);
    const migration = new VfioUserMigration(vfioUser(device));
    expect(() => migration.state).toThrow("migration state 77");
  });

  test.each<[string, Uint8Array]>([
    ["more than was asked for", Buffer.concat([migrationData.encode({ size: 65 }), new Uint8Array(65)])],
    ["less than it says", Buffer.concat([migrationData.encode({ size: 60 }), new Uint8Array(59)])],
    ["2^32 - 1 bytes", migrationData.encode({ size: 0xffff_ffff })],
    ["no header", new Uint8Array(3)],
  ])("a server that sends %s of migration data is a protocol error", async (_, payload) => {
    const stopped = {
      command: Command.deviceFeature,
      payload: feature(vfio_device_feature_mig_state.encode({})),
    };
    using device = await open(supported, stopped, { command: Command.migDataRead, payload });
    const stream = new VfioUserMigration(vfioUser(device)).setState("stop-copy");
    expect(() => stream?.read(new Uint8Array(64))).toThrow(VfioUserProtocolError);
  });

  test("a report of the wrong size is a protocol error", async () => {
    using device = await open({ command: Command.deviceFeature, payload: new Uint8Array(8 + 24 + 16) });
    const logging = new VfioUserDmaLogging(vfioUser(device));
    expect(() => logging.report(0n, 4096, 4096)).toThrow(VfioUserProtocolError);
  });
});
