/** Register writes by eventfd, at both ends. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VfioUserDevice, VfioUserIoEventFd } from "../../../../src/doors/vfio-user.js";
import { ArgumentError, ClosedError, PciDevice } from "../../../../src/index.js";
import { VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import {
  Command,
  regionIoFds,
  shadowSubRegion,
  subRegion,
} from "../../../../src/vfio-user/protocol/protocol.js";
import { Edu, EduRegister } from "../../../support/edu.js";
import { useEmulatedEdu } from "../../../support/emulated-edu.js";
import { compileEmulators } from "../../../support/emulators.js";
import { expectNothingLeftSoon } from "../../../support/holdings-soon.js";
import { RawServer } from "../../../support/raw-vfio-user.js";
import type { Lie } from "../../../support/raw-vfio-user-message.js";
import { nextSignal } from "../../../support/signal.js";

const PAGE = 4096;
const START = 1n;
const TO_RAM = 2n;
const INTERRUPT = 4n;
const INTERNAL_BUFFER = 0x40000n;

beforeAll(() => void compileEmulators());

function vfioUser(device: PciDevice): VfioUserDevice {
  if (!(device.io instanceof VfioUserDevice)) throw new Error("not behind a socket");
  return device.io;
}

describe("edu's ioeventfds", () => {
  let device: PciDevice;
  useEmulatedEdu((made) => {
    ({ device } = made);
  });

  test("edu's ioeventfds start its transfers", async () => {
    const edu = new Edu(device.io);
    using buffer = device.dma.alloc(PAGE, { addressBits: 28 });
    using interrupts = device.enableInterrupts({ kind: "msi" });
    buffer.bytes.fill(0x33, 0, 100);
    await edu.load(buffer.iova, 100);
    const events = VfioUserIoEventFd.of(vfioUser(device), 0);
    const values = events.map(({ value }) => value);
    expect(values).toEqual([START, START | INTERRUPT, START | TO_RAM, START | TO_RAM | INTERRUPT]);
    expect(
      events.every(({ offset, widthBytes }) => offset === EduRegister.dmaCommand && widthBytes === 4),
    ).toBe(true);
    const registers = device.bar(0);
    for (let round = 0; round < 3; round++) {
      buffer.bytes.fill(0);
      registers.write64(EduRegister.dmaSource, INTERNAL_BUFFER);
      registers.write64(EduRegister.dmaDestination, buffer.iova);
      registers.write32(EduRegister.dmaCount, 100);
      const signal = nextSignal(interrupts, 0, () => edu.acknowledge());
      events[3]?.signal();
      await signal;
      expect(buffer.view(0, 100).every((byte) => byte === 0x33)).toBe(true);
    }
    for (const event of events) event.close();
    expect(() => events[0]?.signal()).toThrow(ClosedError);
  });

  test("a region without ioeventfds has none, and a region that doesn't exist is an error", () => {
    expect(VfioUserIoEventFd.of(vfioUser(device), 7)).toEqual([]);
    expect(() => VfioUserIoEventFd.of(vfioUser(device), 9)).toThrow(ArgumentError);
  });

  test("ioeventfds close with the device", () => {
    const [event] = VfioUserIoEventFd.of(vfioUser(device), 0);
    device.close();
    expect(event?.closed).toBe(true);
  });
});

describe("a server that breaks the protocol", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
    // What the first use of anything keeps for good is there before anything is counted, and what it closes is gone.
    const device = PciDevice.open(`vfio-user:${server.path}`);
    device.bar(0).read32(0);
    device.close();
    await server.left();
  });
  afterAll(() => server.close());
  expectNothingLeftSoon();

  const reply = (
    count: number,
    entries: readonly Uint8Array[],
    fields: { index?: number; argsz?: number } = {},
  ) =>
    Buffer.concat([regionIoFds.encode({ argsz: 16 + 40 * count, index: 0, count, ...fields }), ...entries]);
  const entry = (fields: Parameters<typeof subRegion.encode>[0]): Uint8Array =>
    subRegion.encode({ gpa_offset: 8n, size: 4n, ...fields });
  async function ask(lie: Omit<Lie, "command">): Promise<VfioUserIoEventFd[]> {
    await server.tell();
    using device = PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: 60_000 } });
    device.io.regionInfo(0);
    await server.tell({ command: Command.deviceGetRegionIoFds, ...lie });
    return VfioUserIoEventFd.of(vfioUser(device), 0);
  }

  test.each<[string, Omit<Lie, "command">]>([
    ["nothing", { payload: new Uint8Array(0) }],
    ["half a header", { payload: new Uint8Array(15) }],
    ["fewer than it counts", { payload: reply(2, [entry({})]), fds: ["eventfd"] }],
    ["2^32 - 1 of them", { payload: reply(0xffff_ffff, [entry({})], { argsz: 56 }), fds: ["eventfd"] }],
    ["entries of another length", { payload: reply(1, [new Uint8Array(41)]), fds: ["eventfd"] }],
    ["another region's", { payload: reply(1, [entry({})], { index: 1 }), fds: ["eventfd"] }],
    ["no descriptor", { payload: reply(1, [entry({})]), fds: [] }],
    ["a descriptor that didn't come", { payload: reply(1, [entry({ fd_index: 1 })]), fds: ["eventfd"] }],
    ["what is no eventfd", { payload: reply(1, [entry({})]), fds: ["sealed"] }],
    [
      "a file after a good one",
      { payload: reply(2, [entry({}), entry({ fd_index: 1 })]), fds: ["eventfd", "file"] },
    ],
    ["a place beyond the region", { payload: reply(1, [entry({ gpa_offset: 8190n })]), fds: ["eventfd"] }],
    [
      "a place beyond everything",
      { payload: reply(1, [entry({ gpa_offset: 2n ** 64n - 1n })]), fds: ["eventfd"] },
    ],
    ["a width of 9", { payload: reply(1, [entry({ size: 9n })]), fds: ["eventfd"] }],
    ["that it needs more room than anybody has", { payload: reply(0, [], { argsz: 1 << 30 }) }],
  ])("a server that sends %s about ioeventfds is a protocol error", async (_, lie) => {
    await expect(ask(lie)).rejects.toThrow(VfioUserProtocolError);
  });

  test("accepts shared descriptors, other kinds, and libvfio-user's longer entries", async () => {
    const shared = {
      payload: reply(2, [entry({}), entry({ gpa_offset: 0n, size: 0n })]),
      fds: ["eventfd"] as const,
    };
    expect(
      (await ask(shared)).map(({ offset, widthBytes, value }) => ({ offset, widthBytes, value })),
    ).toEqual([
      { offset: 8, widthBytes: 4, value: undefined },
      { offset: 0, widthBytes: 0, value: undefined },
    ]);
    expect(await ask({ payload: reply(1, [entry({ type: 1 })]), fds: ["eventfd"] })).toEqual([]);
    const long = shadowSubRegion.encode({ gpa_offset: 16n, size: 8n, flags: 1, datamatch: 77n });
    const [event] = await ask({ payload: reply(1, [long]), fds: ["eventfd"] });
    expect(event).toMatchObject({ offset: 16, widthBytes: 8, value: 77n });
  });

  test("a server that claims to have done other writes is a protocol error", async () => {
    await server.tell();
    using device = PciDevice.open(`vfio-user:${server.path}`);
    const registers = device.bar(0);
    for (const [payload, fails] of [
      [new Uint8Array(7), true],
      [Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), true],
      [Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0), false],
    ] as const) {
      await server.tell({ command: Command.regionWriteMulti, payload });
      const write = (): void =>
        device.io.writeRegions?.(0, [
          { offset: 0, source: new Uint8Array(4) },
          { offset: 4, source: new Uint8Array(8) },
        ]);
      if (fails) expect(write).toThrow(VfioUserProtocolError);
      else expect(write).not.toThrow();
    }
    expect(() => registers.write64(8192, 0n)).toThrow(ArgumentError);
    expect(() => registers.write64(0, -1n)).toThrow(ArgumentError);
  });
});
