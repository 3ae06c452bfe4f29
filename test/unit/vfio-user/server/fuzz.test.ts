/** Both ends of vfio-user against generated and damaged messages. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { packageRoot } from "../../../../guest/paths.js";
import { IovaError } from "../../../../src/core/errors.js";
import { EmulatedEdu } from "../../../../src/emulator/edu/device.js";
import { EmulatedNvme } from "../../../../src/emulator/nvme/controller.js";
import { PciDevice } from "../../../../src/index.js";
import { EventFd } from "../../../../src/sys/eventfd.js";
import { MappedMemory } from "../../../../src/sys/memory.js";
import { close, memfd } from "../../../../src/sys/syscalls.js";
import { vfio_irq_info, vfio_irq_set, vfio_region_info } from "../../../../src/vfio/uapi.js";
import { vfio_device_feature, vfio_device_feature_mig_state } from "../../../../src/vfio/uapi-feature.js";
import { VfioUserClient } from "../../../../src/vfio-user/client/client.js";
import { VfioUserDevice } from "../../../../src/vfio-user/client/device.js";
import { VfioUserDmaLogging } from "../../../../src/vfio-user/client/dma-logging.js";
import { VfioUserIoEventFd } from "../../../../src/vfio-user/client/io-events.js";
import { VfioUserMapper } from "../../../../src/vfio-user/client/mapper.js";
import { VfioUserMigration, VfioUserMigrationData } from "../../../../src/vfio-user/client/migration.js";
import { Channel } from "../../../../src/vfio-user/protocol/channel.js";
import {
  Command,
  dmaMap,
  dmaUnmap,
  FLAG_NO_REPLY,
  loggingControl,
  migrationData,
  regionAccess,
  regionIoFds,
  TYPE_REPLY,
} from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import { VfioUserServer } from "../../../../src/vfio-user/server/server.js";
import { Edu, EduRegister } from "../../../support/edu.js";
import { compileEmulators, emulate, socketPath } from "../../../support/emulators.js";
import { holdings } from "../../../support/holdings.js";
import { RawClient, RawServer } from "../../../support/raw-vfio-user.js";
import { header, type Lie } from "../../../support/raw-vfio-user-message.js";
import { type RecordedMessage, readSession } from "../../../support/recorded-session.js";

/** The same every time: a failure names the messages that lead to it. */
const SEED = 20_260_727;
const commands = Object.values(Command);
const MIB = 2 ** 20;
const QEMU_SESSION = join(packageRoot(), "test/unit/fixtures/qemu-vfio-user-session.txt");

/** Numbers that limits are likely to be near. */
const edge = fc.constantFrom(
  0,
  1,
  3,
  4,
  8,
  15,
  16,
  255,
  256,
  4095,
  4096,
  0x1000_0000,
  0x7fff_ffff,
  0xffff_ffff,
);
const edge64 = fc.oneof(
  edge.map(BigInt),
  fc.constantFrom(0x10_0000n, 0x10_1000n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n),
);
const data = fc.uint8Array({ maxLength: 64 });
const flips = fc.array(fc.record({ at: fc.nat(200), xor: fc.integer({ min: 1, max: 255 }) }), {
  maxLength: 4,
});

describe("messages of a client", () => {
  type Fd = "memory" | "unsealed" | "event";
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .record({ flags: fc.nat(4), offset: edge64, addr: edge64, size: edge64 })
      .map((map) => dmaMap.encode(map)),
    fc.record({ flags: fc.nat(4), addr: edge64, size: edge64 }).map((unmap) => dmaUnmap.encode(unmap)),
    fc
      .tuple(fc.record({ offset: edge64, region: fc.oneof(fc.nat(9), edge), count: edge }), data)
      .map(([access, tail]) => Buffer.concat([regionAccess.encode(access), tail])),
    // A write that fits.
    fc
      .tuple(fc.nat(0x100), fc.constantFrom(0, 7), fc.uint8Array({ minLength: 1, maxLength: 8 }))
      .map(([at, region, bytes]) =>
        Buffer.concat([regionAccess.encode({ offset: BigInt(at), region, count: bytes.length }), bytes]),
      ),
    fc
      .tuple(
        fc.record({ flags: fc.nat(63), index: fc.oneof(fc.nat(5), edge), start: edge, count: edge }),
        data,
      )
      .map(([set, tail]) => Buffer.concat([vfio_irq_set.encode(set), tail])),
    fc.record({ argsz: edge, index: fc.oneof(fc.nat(9), edge) }).map((info) => vfio_region_info.encode(info)),
    fc.record({ index: fc.oneof(fc.nat(5), edge) }).map((info) => vfio_irq_info.encode(info)),
    fc.constant(encodeVersion()),
    fc.constant(encodeVersion(undefined, { supported: true, fdIndex: undefined })),
    fc.record({ argsz: edge, index: fc.oneof(fc.nat(9), edge) }).map((ask) => regionIoFds.encode(ask)),
    // Features, with every direction; states, ranges and reports that may make sense.
    fc
      .tuple(
        fc.record({
          argsz: edge,
          flags: fc.tuple(fc.nat(13), fc.nat(7)).map(([index, way]) => index | (way << 16)),
        }),
        fc.oneof(
          data,
          fc.nat(9).map((device_state) => vfio_device_feature_mig_state.encode({ device_state })),
          fc.tuple(edge64, edge64, edge64).map((words) => new Uint8Array(BigUint64Array.from(words).buffer)),
          fc
            .tuple(fc.constantFrom(4096n, 1n, 0n), fc.nat(2), edge64, edge64)
            .map(([page_size, num_ranges, iova, length]) =>
              Buffer.concat([
                loggingControl.encode({ page_size, num_ranges }),
                new Uint8Array(BigUint64Array.of(iova, length).buffer),
              ]),
            ),
        ),
      )
      .map(([feature, tail]) => Buffer.concat([vfio_device_feature.encode(feature), tail])),
    fc
      .tuple(fc.record({ argsz: edge, size: edge }), data)
      .map(([ask, tail]) => Buffer.concat([migrationData.encode(ask), tail])),
    data.map((tail) => Buffer.concat([migrationData.encode({ size: tail.length }), tail])),
  );
  const message = fc.record({
    id: fc.nat(0xffff),
    command: fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(...commands) },
      { weight: 1, arbitrary: fc.nat(0xffff) },
    ),
    flags: fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(0, 0x10) },
      { weight: 1, arbitrary: fc.nat(0xff) },
    ),
    payload,
    size: fc.option(edge, { nil: undefined, freq: 20 }),
    flips: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: flips }),
    cut: fc.oneof({ weight: 15, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(40) }),
    fds: fc.array(fc.constantFrom<Fd>("memory", "unsealed", "event"), { maxLength: 3 }),
  });
  const session = fc.record({
    greets: fc.oneof(
      { weight: 9, arbitrary: fc.constant(true) },
      { weight: 1, arbitrary: fc.constant(false) },
    ),
    messages: fc.array(message, { minLength: 1, maxLength: 12 }),
  });

  let edu: EmulatedEdu;
  let server: VfioUserServer;
  let memory: MappedMemory;
  let event: EventFd;
  let unsealed: number;
  beforeAll(() => {
    edu = new EmulatedEdu();
    server = new VfioUserServer(socketPath(), edu, { sendTimeoutMs: 500 });
    memory = MappedMemory.memfd(4 * 4096, { name: "fuzz-memory" });
    event = new EventFd();
    unsealed = memfd("fuzz-unsealed", 4096);
  });
  afterAll(() => {
    server.close();
    edu.close();
    memory.close();
    event.close();
    close(unsealed);
  });
  const mapped = (): number =>
    readFileSync("/proc/self/maps", "utf8")
      .split("\n")
      .filter((line) => line.includes("fuzz-")).length;

  test("generated messages of a client end in an answer or a hang-up, and the next client is served", async () => {
    const descriptors = { memory: memory.fd, unsealed, event: event.fd };
    await new Promise((resolve) => setTimeout(resolve, 2));
    const before = holdings();
    const mappedBefore = mapped();
    let sent = 0;
    const idle = (): Promise<void> => vi.waitFor(() => expect(server.connected).toBe(false), { interval: 1 });
    const property = fc.asyncProperty(session, async ({ greets, messages }) => {
      const client = new RawClient(server.path);
      try {
        if (greets) await client.ask(Command.version, encodeVersion());
        for (const { fds, cut, flips: some, size, ...fields } of messages) {
          const bytes = header({ ...fields, ...(size === undefined ? {} : { size }) });
          for (const { at, xor } of some) {
            const i = at % bytes.length;
            bytes[i] = (bytes[i] ?? 0) ^ xor;
          }
          const open = fds.map((kind) => descriptors[kind]);
          await client.send(bytes.subarray(0, Math.max(1, bytes.length - cut)), open);
          sent++;
        }
      } catch (error) {
        // It hung up, which is one way to say that this was wrong.
        expect(error).toMatchObject({ code: expect.stringMatching(/^(EPIPE|ECONNRESET)$/) });
      }
      client.close();
      // At once: the server may not have noticed yet that the other has gone, or even that it came.
      const next = new RawClient(server.path);
      expect(await next.ask(Command.version, encodeVersion())).toMatchObject({ errno: 0 });
      const request = regionAccess.encode({ region: 0, offset: 0n, count: 4 });
      expect((await next.ask(Command.regionRead, request))?.payload).toHaveLength(20);
      expect(mapped()).toBe(mappedBefore);
      next.close();
      await idle();
      expect(holdings()).toEqual(before);
    });
    await fc.assert(property, { numRuns: 600, seed: SEED });
    expect(sent).toBeGreaterThan(1500);
    expect(holdings()).toEqual(before);
  });
});

/** What a driver's session sends, byte by byte, and how many descriptors go along. */
async function record(): Promise<readonly RecordedMessage[]> {
  const emulator = await emulate({ device: "edu", options: {} });
  const sent: RecordedMessage[] = [];
  const { send } = Channel.prototype;
  const spy = vi.spyOn(Channel.prototype, "send").mockImplementation(function (this: Channel, message) {
    const { id, command, isReply = false, noReply = false, parts = [], fds = [] } = message;
    // At once: a client uses the memory of its messages again.
    const payload = Buffer.concat(parts);
    const flags = (isReply ? TYPE_REPLY : 0) | (noReply ? FLAG_NO_REPLY : 0);
    sent.push({ bytes: header({ id, command, flags, payload }), fds: fds.length });
    send.call(this, message);
  });
  const device = PciDevice.open(emulator.address);
  const edu = new Edu(device.io);
  const buffer = device.dma.alloc(4096, { addressBits: 28 });
  const interrupts = device.enableInterrupts({ kind: "msi" });
  await edu.load(buffer.iova, 64);
  await edu.store(buffer.iova, 64);
  device.bar(0).write64(EduRegister.dmaSource, 1n);
  if (!(device.io instanceof VfioUserDevice)) throw new Error("not behind a socket");
  const migration = new VfioUserMigration(device.io);
  const state = migration.save();
  migration.setState("resuming")?.write(state);
  migration.setState("running");
  interrupts.close();
  buffer.close();
  device.reset();
  device.close();
  spy.mockRestore();
  await emulator.close();
  return sent;
}

/** Sessions to be damaged: our own client's, and another's (test/record-vfio-user.ts). */
const sessions = [
  {
    name: "our client, driving an edu",
    recorded: record,
    device: () => new EmulatedEdu(),
    memoryBytes: 64 * 4096,
    numRuns: 100,
  },
  {
    name: "QEMU's client, with Linux driving an NVMe controller",
    recorded: async () => readSession(QEMU_SESSION),
    // As when it was recorded; and as much address space as that guest had memory.
    device: () => EmulatedNvme.create({ sizeBytes: 64 * MIB, vectors: 3, doorbells: "messages" }),
    memoryBytes: 256 * MIB,
    numRuns: 60,
  },
] as const;

describe("what a driver has sent", () => {
  beforeAll(() => void compileEmulators());

  const damage = fc.record({
    kind: fc.constantFrom("flip", "cut", "drop", "double", "swap", "fds"),
    at: fc.nat(1000),
    other: fc.nat(1000),
    xor: fc.integer({ min: 1, max: 255 }),
  });

  test.each(sessions)(
    "$name is answered; if messages are lost, doubled, reordered or changed, the next client is served",
    {
      timeout: 600_000,
    },
    async ({ recorded: record, device: open, memoryBytes, numRuns }) => {
      const recorded = await record();
      expect(recorded.length).toBeGreaterThan(30);
      const device = open();
      const server = new VfioUserServer(socketPath(), device, { sendTimeoutMs: 500 });
      const memory = MappedMemory.memfd(memoryBytes, { name: "fuzz-memory" });
      const event = new EventFd();
      const before = holdings();
      const idle = (): Promise<void> =>
        vi.waitFor(() => expect(server.connected).toBe(false), { interval: 1 });

      /** @returns answers that came meanwhile */
      const play = async (client: RawClient, session: readonly RecordedMessage[]): Promise<number> => {
        let answers = 0;
        for (const { bytes, fds } of session) {
          const isIrq = bytes.length >= 4 && bytes.readUInt16LE(2) === Command.deviceSetIrqs;
          await client.send(bytes, new Array<number>(fds).fill(isIrq ? event.fd : memory.fd));
          answers += client.drain();
        }
        return answers;
      };
      {
        using client = new RawClient(server.path);
        let answers = await play(client, recorded);
        const wanted = recorded.filter(({ bytes }) => (bytes.readUInt32LE(8) & FLAG_NO_REPLY) === 0).length;
        for (; answers < wanted && (await client.receive()) !== undefined; answers++);
        expect(answers).toBe(wanted);
      }
      await idle();

      const property = fc.asyncProperty(fc.array(damage, { maxLength: 4 }), async (damages) => {
        const session = [...recorded];
        for (const { kind, at, other, xor } of damages) {
          const i = at % session.length;
          const one = session[i];
          const place = other % session.length;
          if (one === undefined) continue;
          if (kind === "flip") {
            const bytes = Buffer.from(one.bytes);
            bytes[other % bytes.length] = (bytes[other % bytes.length] ?? 0) ^ xor;
            session[i] = { ...one, bytes };
          } else if (kind === "cut")
            session[i] = { ...one, bytes: one.bytes.subarray(0, 1 + (other % one.bytes.length)) };
          else if (kind === "fds") session[i] = { ...one, fds: one.fds > 0 ? 0 : 1 + (xor & 3) };
          else if (kind === "drop") session.splice(i, 1);
          else if (kind === "double") session.splice(place, 0, one);
          else session.splice(place, 0, ...session.splice(i, 1));
        }
        const client = new RawClient(server.path);
        try {
          await play(client, session);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(EPIPE|ECONNRESET)$/) });
        }
        client.close();
        const next = new RawClient(server.path);
        expect(await next.ask(Command.version, encodeVersion())).toMatchObject({ errno: 0 });
        next.close();
        await idle();
        expect(holdings()).toEqual(before);
      });
      await fc.assert(property, { numRuns, seed: SEED });
      server.close();
      device.close();
      memory.close();
      event.close();
    },
  );
});

describe("answers of a server", () => {
  const TIMEOUT_MS = 25;
  const bits = fc.record<Omit<Lie, "command">>(
    {
      silent: fc.constant(false),
      idShift: fc.oneof(fc.constant(0), fc.nat(0xffff)),
      answersCommand: fc.constantFrom(...commands),
      flags: fc.constantFrom(0, 1, 0x11, 0x21, 0xff),
      errno: edge,
      size: edge,
      payload: fc.uint8Array({ maxLength: 128 }),
      flips,
      cut: fc.nat(24),
      fds: fc.array(fc.constantFrom("sealed", "short", "unsealed", "eventfd", "file", "twin"), {
        maxLength: 70,
      }),
      hangUp: fc.boolean(),
      before: fc.array(
        fc.oneof(
          fc.uint8Array({ minLength: 1, maxLength: 64 }),
          fc
            .tuple(fc.constantFrom(...commands), data)
            .map(([command, tail]) => header({ command, payload: tail })),
        ),
        { maxLength: 2 },
      ),
    },
    { requiredKeys: [] },
  );
  // One or two things wrong at a time: with more the first is all that counts.
  const kinds = Object.freeze([
    "idShift",
    "answersCommand",
    "flags",
    "errno",
    "size",
    "payload",
    "cut",
    "fds",
    "hangUp",
    "before",
    "flips",
  ] as const);
  const lie = fc
    .tuple(fc.constantFrom(...commands), bits, fc.subarray([...kinds], { minLength: 1, maxLength: 2 }))
    .map(([command, all, chosen]): Lie => {
      const picked: Record<string, unknown> = {};
      for (const name of chosen) if (all[name] !== undefined) picked[name] = all[name];
      return { command, ...picked };
    });
  const lies = fc.array(lie, { minLength: 1, maxLength: 4 });

  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
    using device = PciDevice.open(`vfio-user:${server.path}`);
    device.bar(0).map().close();
  });
  afterAll(() => server.close());
  let before: ReturnType<typeof holdings>;
  beforeEach(async () => {
    await server.tell();
    before = holdings();
  });
  afterEach(() => vi.waitFor(() => expect(holdings()).toEqual(before)));

  test("generated answers of a server end in an IovaError or a value, in time", async () => {
    let asked = 0;
    let refused = 0;
    const property = fc.asyncProperty(lies, async (told) => {
      await server.tell(...told);
      using memory = MappedMemory.memfd(4096);
      using event = new EventFd();
      let client: VfioUserClient | undefined;
      const attempt = (step: () => unknown): void => {
        asked++;
        try {
          step();
        } catch (error) {
          refused++;
          expect(error).toBeInstanceOf(IovaError);
        }
      };
      attempt(() => {
        client = VfioUserClient.connect(server.path, { timeoutMs: TIMEOUT_MS });
      });
      const mine = client;
      if (mine === undefined) return;
      const mapper = new VfioUserMapper(mine);
      const io = new VfioUserDevice(mine);
      attempt(() => io.info());
      for (const index of [0, 1, 7]) attempt(() => io.regionInfo(index));
      attempt(() => io.mapRegion(0, 0, 8192).close());
      attempt(() => io.readRegion(7, 0, new Uint8Array(4)));
      attempt(() => io.writeRegion(7, 4, new Uint8Array(2)));
      attempt(() => io.irqInfo(2));
      attempt(() => io.setIrqEventfds(2, 0, [event.fd, -1, event.fd]));
      attempt(() => {
        const at = mapper.mapFile(memory.fd, 0, 4096, "read-write", undefined);
        attempt(() => mapper.unmap(at, 4096));
      });
      attempt(() => new VfioUserMigration(io).setState("stop-copy")?.read(new Uint8Array(32)));
      attempt(() => new VfioUserMigrationData(io).write(new Uint8Array(32)));
      attempt(() => new VfioUserDmaLogging(io).start(4096, []));
      attempt(() => new VfioUserDmaLogging(io).report(0n, 8192, 4096));
      attempt(() => {
        for (const one of VfioUserIoEventFd.of(io, 0)) one.close();
      });
      attempt(() =>
        io.writeRegions(
          0,
          [0, 4].map((offset) => ({ offset, source: new Uint8Array(4) })),
        ),
      );
      attempt(() => io.reset());
      io.close();
      mine.close();
    });
    await fc.assert(property, { numRuns: 400, seed: SEED });
    expect(asked).toBeGreaterThan(2500);
    expect(refused).toBeGreaterThan(100);
  });
});
