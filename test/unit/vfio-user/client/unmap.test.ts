/** How the client unmaps memory: all at once, one buffer, or with the record of what was written. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { VfioUserDevice, VfioUserDmaLogging, VfioUserMapper } from "../../../../src/doors/vfio-user.js";
import { ArgumentError, BusyError, ClosedError, MappedMemory, PciDevice } from "../../../../src/index.js";
import { VfioUserClient } from "../../../../src/vfio-user/client/client.js";
import { VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import { Command, dmaUnmap, UNMAP_ALL } from "../../../../src/vfio-user/protocol/protocol.js";
import { Edu } from "../../../support/edu.js";
import { useEmulatedEdu } from "../../../support/emulated-edu.js";
import { compileEmulators, emulate } from "../../../support/emulators.js";
import { RawServer } from "../../../support/raw-vfio-user.js";

const PAGE = 4096;

beforeAll(() => void compileEmulators());
afterEach(() => void vi.restoreAllMocks());

function loggingOf(device: PciDevice): VfioUserDmaLogging {
  if (!(device.io instanceof VfioUserDevice)) throw new Error("not behind a socket");
  return new VfioUserDmaLogging(device.io);
}

/** Flags of the DMA_UNMAPs that are sent from now on. */
function watchUnmaps(): () => number[] {
  const request = vi.spyOn(VfioUserClient.prototype, "request");
  return () =>
    request.mock.calls
      .filter(([command]) => command === Command.dmaUnmap)
      .map(([, parts]) => dmaUnmap.decode(parts?.[0] ?? new Uint8Array(0)).flags);
}

describe("unmapping", () => {
  let server: RawServer;
  beforeAll(async () => {
    server = await RawServer.start();
  });
  afterAll(() => server.close());

  async function open(): Promise<PciDevice> {
    await server.tell();
    const device = PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: 2000 } });
    // Each with a mapping of its own.
    for (let i = 0; i < 10; i++) device.dma.alloc(PAGE, { shared: true });
    return device;
  }

  test("a device that is closed takes all its memory from the server at once", async () => {
    const device = await open();
    const unmaps = watchUnmaps();
    device.close();
    expect(unmaps()).toEqual([UNMAP_ALL]);
    const again = await open();
    await again.closeAsync();
    expect(unmaps()).toEqual([UNMAP_ALL, UNMAP_ALL]);
  });

  test.each([Errno.EINVAL, Errno.EOPNOTSUPP])(
    "a device that is closed unmaps one buffer after the other if the server answers errno %i to UNMAP_ALL",
    async (errno) => {
      const device = await open();
      await server.tell({ command: Command.dmaUnmap, errno, flags: 0x21 });
      const unmaps = watchUnmaps();
      device.close();
      expect(unmaps()).toEqual([UNMAP_ALL, ...new Array<number>(10).fill(0)]);
    },
  );

  test("a single buffer that is closed is unmapped by its address", async () => {
    const device = await open();
    const unmaps = watchUnmaps();
    device.dma.alloc(PAGE, { shared: true }).close();
    expect(unmaps()).toEqual([0]);
    device.close();
  });

  test("a report of written pages that is too short is a VfioUserProtocolError", async () => {
    const device = await open();
    const buffer = device.dma.alloc(PAGE, { shared: true });
    await server.tell({ command: Command.dmaUnmap, payload: new Uint8Array(24) });
    expect(() => loggingOf(device).closeDirty(buffer, PAGE)).toThrow(VfioUserProtocolError);
    device.close();
  });
});

describe("unmapping by hand", () => {
  let device: PciDevice;
  useEmulatedEdu((made) => {
    ({ device } = made);
  });

  test("happens once: again it is an error, and the address goes to one mapping only", () => {
    const { mapper } = device.dma;
    if (!(mapper instanceof VfioUserMapper)) throw new Error("not behind a socket");
    using memory = MappedMemory.memfd(PAGE);
    const map = () => mapper.mapFile(memory.fd, 0, PAGE, "read-write", undefined);
    const at = map();
    expect(() => mapper.unmap(at, 2 * PAGE)).toThrow("ENOENT");
    mapper.unmap(at, PAGE);
    expect(() => mapper.unmap(at, PAGE)).toThrow(/^VFIO_USER_DMA_UNMAP.*ENOENT.*no map\(\) made that range/);
    const mapped = [map(), map(), map()];
    expect(new Set(mapped).size).toBe(3);
    for (const each of mapped) mapper.unmap(each, PAGE);
  });
});

describe("closeDirty", () => {
  let device: PciDevice;
  useEmulatedEdu((made) => {
    ({ device } = made);
  });

  test("reports all pages that the device wrote to, and unmaps the buffer", async () => {
    const edu = new Edu(device.io);
    const logging = loggingOf(device);
    using other = device.dma.alloc(PAGE, { iova: 0x10_0000n });
    const buffer = device.dma.alloc(8 * PAGE, { iova: 0x40_0000n });
    logging.start(PAGE, []);
    await edu.store(buffer.iova + BigInt(2 * PAGE) - 32n, 64);
    await edu.store(buffer.iova + BigInt(7 * PAGE), 64);
    await edu.store(other.iova, 64);
    const dirty = logging.closeDirty(buffer, PAGE);
    expect([...dirty]).toEqual([
      { iova: 0x40_0000n + BigInt(PAGE), sizeBytes: 2 * PAGE },
      { iova: 0x40_0000n + BigInt(7 * PAGE), sizeBytes: PAGE },
    ]);
    expect(buffer.closed).toBe(true);
    expect(() => logging.closeDirty(buffer, PAGE)).toThrow(ClosedError);
    // Nothing of the other was forgotten, and the address is free.
    expect(logging.report(other.iova, PAGE, PAGE).dirtyPages).toBe(1);
    using next = device.dma.alloc(8 * PAGE, { iova: 0x40_0000n });
    expect(logging.closeDirty(next, 2 * PAGE).dirtyPages).toBe(0);
  });

  test("leaves the buffer open if its written pages can't be reported", async () => {
    const logging = loggingOf(device);
    using buffer = device.dma.alloc(4 * PAGE);
    expect(() => logging.closeDirty(buffer, PAGE)).toThrow("EINVAL");
    logging.start(PAGE, []);
    expect(() => logging.closeDirty(buffer, 3)).toThrow("EINVAL");
    expect(() => logging.closeDirty(buffer, 0)).toThrow(ArgumentError);
    buffer.lease.hold("somebody");
    expect(() => logging.closeDirty(buffer, PAGE)).toThrow(BusyError);
    buffer.lease.drop();
    using large = device.dma.alloc(16 * 1024 * PAGE);
    expect(() => logging.closeDirty(large, 4)).toThrow(ArgumentError);
    const elsewhere = await emulate({ device: "edu", options: {} });
    const foreign = PciDevice.open(elsewhere.address);
    expect(() => logging.closeDirty(foreign.dma.alloc(PAGE), PAGE)).toThrow(ArgumentError);
    foreign.close();
    await elsewhere.close();
    expect(buffer.closed).toBe(false);
    await new Edu(device.io).load(buffer.iova, 8);
  });
});
