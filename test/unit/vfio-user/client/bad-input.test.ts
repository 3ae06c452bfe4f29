/** The client against servers that break the protocol. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DeviceGoneError, IovaError, StateError } from "../../../../src/core/errors.js";
import {
  ArgumentError,
  ConfigError,
  PciDevice,
  TimeoutError,
  UnsupportedError,
} from "../../../../src/index.js";
import { MappedMemory } from "../../../../src/sys/memory.js";
import {
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  vfio_info_cap_header,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_sparse_mmap_area,
} from "../../../../src/vfio/uapi.js";
import { VfioUserClient } from "../../../../src/vfio-user/client/client.js";
import { VfioUserDevice } from "../../../../src/vfio-user/client/device.js";
import { VfioUserMapper } from "../../../../src/vfio-user/client/mapper.js";
import { VfioUserProtocolError } from "../../../../src/vfio-user/protocol/channel.js";
import { Command, deviceInfo, dmaAccess } from "../../../../src/vfio-user/protocol/protocol.js";
import { caught } from "../../../support/caught.js";
import { sysError } from "../../../support/errors.js";
import { expectNothingLeftSoon } from "../../../support/holdings-soon.js";
import { RawServer } from "../../../support/raw-vfio-user.js";
import { header, type Lie } from "../../../support/raw-vfio-user-message.js";
import { asUnprivileged } from "../../../support/unprivileged.js";

const open = (path: string): PciDevice => PciDevice.open(`vfio-user:${path}`);

describe("a path that leads nowhere", () => {
  expectNothingLeftSoon();
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "iova-paths-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test("a path without a socket is an error", () => {
    expect(() => open(join(folder, "none"))).toThrow(sysError("connect", "ENOENT"));
    expect(() => open(join(folder, "none"))).toThrow("there is no such socket");
  });

  test("a file, a directory, and a path through a file are errors", () => {
    const file = join(folder, "file");
    writeFileSync(file, "");
    mkdirSync(join(folder, "sub"));
    expect(() => open(file)).toThrow(sysError("connect", "ECONNREFUSED"));
    expect(() => open(join(folder, "sub"))).toThrow(sysError("connect", "ECONNREFUSED"));
    expect(() => open(join(file, "below"))).toThrow(sysError("connect", "ENOTDIR"));
  });

  test("an empty path and a path too long for a socket are errors", () => {
    expect(() => open("")).toThrow(ArgumentError);
    expect(() => open("a\0b")).toThrow(ArgumentError);
    expect(() => open(`${folder}/${"x".repeat(108)}`)).toThrow("has at most 107 bytes");
  });

  test("a socket without a listener is an error", () => {
    const path = join(folder, "stale");
    const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    expect(spawnSync(process.execPath, ["-e", script]).signal).toBe("SIGKILL");
    expect(() => open(path)).toThrow(sysError("connect", "ECONNREFUSED"));
    expect(() => open(path)).toThrow("no server listens there");
  });

  test("a socket without permission", async (context) => {
    if (process.getuid?.() !== 0) context.skip("only root can become another user");
    const path = join(folder, "private");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    chmodSync(path, 0o600);
    chmodSync(folder, 0o755);
    asUnprivileged({}, () => {
      expect(() => open(path)).toThrow(sysError("connect", "EACCES"));
      expect(() => open(path)).toThrow("write permission");
    });
    await new Promise((resolve) => server.close(resolve));
  });

  test.each([0, -1, 0.5, Number.NaN, 2 ** 31])("refuses a time limit of %s", (timeoutMs) => {
    expect(() => VfioUserClient.connect(join(folder, "none"), { timeoutMs })).toThrow(ConfigError);
  });
});

describe("a server that breaks the protocol", () => {
  /** Longer than any answer takes on a busy machine. */
  const PATIENT_MS = 60_000;
  /** For tests of the limit itself. What the server does answer has to come within it as well. */
  const TIMEOUT_MS = 2000;
  let server: RawServer;
  let client: VfioUserClient;
  beforeAll(async () => {
    server = await RawServer.start();
    // What the first use of anything keeps for good is there before anything is counted, and what it closes is gone.
    const device = open(server.path);
    device.bar(0).map().close();
    device.close();
    await server.left();
  });
  afterAll(() => server.close());
  expectNothingLeftSoon();

  const connect = (trustServer = false, timeoutMs = PATIENT_MS): VfioUserClient =>
    VfioUserClient.connect(server.path, { timeoutMs, trustServer });
  /** Connects after the server was told, and always closes. */
  async function against<T>(
    lies: readonly Lie[],
    use: (device: VfioUserDevice, client: VfioUserClient) => T,
    trustServer = false,
    timeoutMs = PATIENT_MS,
  ): Promise<Awaited<T>> {
    await server.tell(...lies);
    client = connect(trustServer, timeoutMs);
    const device = new VfioUserDevice(client);
    try {
      return await use(device, client);
    } finally {
      device.close();
      client.close();
    }
  }

  describe("about its version", () => {
    const version = (json: string, major = 0, minor = 1): Uint8Array =>
      Buffer.concat([Buffer.from(Uint16Array.of(major, minor).buffer), Buffer.from(json)]);
    const refused: readonly [string, Omit<Lie, "command">, string][] = [
      ["hangs up", { raw: new Uint8Array(0), hangUp: true }, "hung up instead of sending its version"],
      ["speaks another major version", { payload: version("{}", 1) }, "speaks vfio-user 1.1, not 0.1"],
      ["sends no version", { payload: new Uint8Array(3) }, "a version of 3 bytes"],
      ["sends JSON that ends early", { payload: version('{"capabilities":{') }, "invalid capabilities"],
      ["sends JSON that is no object", { payload: version("[1, 2]") }, "invalid capabilities"],
      ["sends bytes that are no text", { payload: version("\xff\xfe{") }, "invalid capabilities"],
      [
        "takes no data",
        { payload: version('{"capabilities":{"max_data_xfer_size":0}}') },
        "invalid capabilities",
      ],
      [
        "counts below zero",
        { payload: version('{"capabilities":{"max_msg_fds":-1}}') },
        "invalid capabilities",
      ],
      [
        "counts beyond all",
        { payload: version('{"capabilities":{"max_msg_fds":1e400}}') },
        "invalid capabilities",
      ],
      [
        "counts in words",
        { payload: version('{"capabilities":{"max_dma_maps":"many"}}') },
        "invalid capabilities",
      ],
      [
        "answers yes with a word",
        { payload: version('{"capabilities":{"write_multiple":"yes"}}') },
        "invalid capabilities",
      ],
      [
        "has null for a socket",
        { payload: version('{"capabilities":{"twin_socket":null}}') },
        "invalid capabilities",
      ],
      [
        "migrates by words",
        { payload: version('{"capabilities":{"migration":{"pgsize":"4k"}}}') },
        "invalid capabilities",
      ],
      ["answers another id", { idShift: 1 }, "instead of VFIO_USER_VERSION 0"],
      ["answers another command", { answersCommand: 9 }, "answered VFIO_USER_REGION_READ"],
      ["sends rubbish", { raw: Buffer.alloc(4096, 0xa5) }, "a message of 2779096485 bytes"],
      ["sends a message of 15 bytes", { size: 15 }, "a message of 15 bytes"],
      ["sends a message of 4 GiB", { size: 0xffff_ffff }, "a message of 4294967295 bytes"],
      ["ends in the middle", { cut: 4, hangUp: true }, "ended in the middle of a message"],
      ["ends in the header", { raw: new Uint8Array(9), hangUp: true }, "ended in the middle of a message"],
      [
        "passes too many descriptors",
        { fds: new Array<"sealed">(65).fill("sealed") },
        "got 65 descriptors with one message: at most 64 make sense",
      ],
    ];
    test.each(refused)("%s", async (_, lie, message) => {
      await server.tell({ command: Command.version, ...lie });
      const error = await caught(() => connect());
      expect(error).toBeInstanceOf(VfioUserProtocolError);
      expect(error.message).toContain(message);
    });

    test.each<[string, Omit<Lie, "command">]>([
      ["says nothing", { silent: true }],
      ["says half of it", { cut: 4 }],
      ["says part of a header", { raw: new Uint8Array(9) }],
      ["asks for ever instead", { flood: true }],
    ])("a server that %s ends in a TimeoutError", async (_, lie) => {
      await server.tell({ command: Command.version, ...lie });
      const error = await caught(() => connect(false, 300));
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error).toMatchObject({ timeoutMs: 300 });
    });

    test("an error as the answer to VERSION is thrown as it is", async () => {
      await server.tell({ command: Command.version, flags: 0x21, errno: 22 });
      expect(connect).toThrow(sysError("VFIO_USER_VERSION", "EINVAL"));
      await server.tell({ command: Command.version, flags: 0x21, errno: 0 });
      expect(connect).toThrow(sysError("VFIO_USER_VERSION", "EIO"));
      await server.tell({ command: Command.version, flags: 0x21, errno: 0xffff_ffff });
      expect(connect).toThrow(sysError("VFIO_USER_VERSION", "errno 4294967295"));
    });

    test("limits beyond our own are cut to ours", async () => {
      const huge = Number.MAX_SAFE_INTEGER;
      const json = JSON.stringify({ capabilities: { max_msg_fds: huge, max_data_xfer_size: huge } });
      await against([{ command: Command.version, payload: version(json) }], (_, { server: said }) => {
        expect(said).toMatchObject({ maxMessageFds: 16, maxTransferBytes: 1024 * 1024 });
      });
    });
  });

  describe("about the device", () => {
    test("too many regions are a protocol error", async () => {
      const payload = deviceInfo.encode({ num_regions: 1e6 });
      await against([{ command: Command.deviceGetInfo, payload }], (device) => {
        expect(() => device.info()).toThrow(VfioUserProtocolError);
        expect(device.info().numRegions).toBe(9);
      });
    });

    test.each([0, 15, 17, 4096])("device information of %i bytes is a protocol error", async (length) => {
      await against([{ command: Command.deviceGetInfo, payload: new Uint8Array(length) }], (device) => {
        expect(() => device.info()).toThrow("instead of 16");
      });
    });

    test("too many vectors are a protocol error", async () => {
      const payload = Buffer.from(Uint32Array.of(16, 1, 2, 0xffff_ffff).buffer);
      await against([{ command: Command.deviceGetIrqInfo, payload }], (device) => {
        expect(() => device.irqInfo(2)).toThrow("4294967295 interrupt vectors");
      });
    });

    test("descriptors in any answer are closed", async () => {
      const commands = [Command.version, Command.deviceGetInfo, Command.regionRead, Command.deviceReset];
      const lies = commands.map((command): Lie => ({ command, fds: new Array<"file">(60).fill("file") }));
      await against(lies, (device) => {
        device.info();
        device.readRegion(7, 0, new Uint8Array(4));
        device.reset();
      });
    });
  });

  describe("about a region", () => {
    const MMAP_AND_CAPS = 4 + 8;
    const region = (
      fields: Parameters<typeof vfio_region_info.encode>[0],
      areas: readonly (readonly [bigint, bigint])[] = [],
      count = areas.length,
    ): Lie => {
      const id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
      const sparse = vfio_region_info_cap_sparse_mmap.encode({
        header: { id, version: 1, next: 0 },
        nr_areas: count,
      });
      const parts = areas.map(([offset, size]) => vfio_region_sparse_mmap_area.encode({ offset, size }));
      const tail = Buffer.concat(areas.length === 0 ? [] : [sparse, ...parts]);
      const argsz = vfio_region_info.sizeBytes + tail.length;
      const cap_offset = areas.length === 0 ? 0 : vfio_region_info.sizeBytes;
      const info = vfio_region_info.encode({
        argsz,
        index: 0,
        flags: 3 + MMAP_AND_CAPS,
        cap_offset,
        size: 8192n,
        ...fields,
      });
      return { command: Command.deviceGetRegionInfo, payload: Buffer.concat([info, tail]), fds: ["sealed"] };
    };
    const at = vfio_region_info.sizeBytes;
    const itself = vfio_region_info.encode({
      index: 0,
      flags: 3 + MMAP_AND_CAPS,
      cap_offset: at,
      size: 8192n,
    });
    const loop: Lie = {
      command: Command.deviceGetRegionInfo,
      payload: Buffer.concat([itself, vfio_info_cap_header.encode({ id: 99, version: 1, next: at })]),
    };
    const lies: readonly [string, Lie, string][] = [
      ["a size beyond 2^53", region({ size: 2n ** 53n }), "a size beyond 2^53"],
      ["a size of all ones", region({ size: 2n ** 64n - 1n }), "a size beyond 2^53"],
      ["an offset beyond 2^53", region({ offset: 2n ** 63n }), "a size beyond 2^53"],
      ["another region", region({ index: 1 }), "region 1 instead of region 0"],
      ["an area beyond its end", region({}, [[4096n, 8192n]]), "an area beyond the end"],
      ["an area far away", region({}, [[2n ** 64n - 4096n, 4096n]]), "an area beyond the end"],
      ["more areas than it sends", region({}, [[0n, 4096n]], 0xffff_ffff), "invalid region"],
      ["a capability outside", region({ cap_offset: 4096 }), "invalid region"],
      ["a capability that is its own next", loop, "invalid region"],
      ["capabilities of 4 GiB", region({ argsz: 0xffff_ffff }), "4294967295 bytes about region 0"],
      ["nothing", { command: Command.deviceGetRegionInfo, payload: new Uint8Array(0) }, "invalid region"],
    ];
    test.each(lies)("%s", async (_, lie, message) => {
      await against([lie], (device) => {
        let error: unknown;
        try {
          device.regionInfo(0);
        } catch (thrown) {
          error = thrown;
        }
        expect(error).toBeInstanceOf(VfioUserProtocolError);
        expect(String(error)).toContain(message);
        expect(device.regionInfo(0).sizeBytes).toBe(8192);
      });
    });

    test("a region that needs more room gets it, once", async () => {
      const more = region({ argsz: 2048, cap_offset: 0 });
      await against([more, region({}, [[4096n, 4096n]])], (device) => {
        expect(device.regionInfo(0).mappable).toEqual([{ offset: 4096, sizeBytes: 4096 }]);
      });
    });

    test("a region whose file is too short isn't mapped", async () => {
      await against([{ command: Command.deviceGetRegionInfo, region: 0, fds: ["short"] }], (device) => {
        expect(() => device.mapRegion(0, 0, 8192)).toThrow("the file ends at 4096 bytes, before 8192");
        device.mapRegion(0, 0, 4096).close();
      });
    });

    test.each(["unsealed", "eventfd", "file"] as const)(
      "a region whose descriptor is %s isn't mapped",
      async (kind) => {
        await against([{ command: Command.deviceGetRegionInfo, region: 0, fds: [kind] }], (device) => {
          expect(device.regionInfo(0).mappable).toEqual([]);
          expect(() => device.mapRegion(0, 0, 8192)).toThrow(UnsupportedError);
        });
      },
    );

    test("a region whose file a trusted server truncates later throws when it is used", async () => {
      const lies: Lie[] = [
        { command: Command.deviceGetRegionInfo, region: 0, fds: ["unsealed"] },
        { command: Command.deviceReset, truncate: true },
      ];
      const use = (device: VfioUserDevice): void => {
        using memory = device.mapRegion(0, 0, 8192);
        memory.bytes.fill(1);
        device.reset();
        expect(() => memory.bytes).toThrow(StateError);
        expect(() => device.mapRegion(0, 0, 8192)).toThrow(ArgumentError);
      };
      await against(lies, use, true);
    });

    test.each([0, 15, 19, 21, 64])("an answer of %i bytes to a read is a protocol error", async (length) => {
      await against([{ command: Command.regionRead, payload: new Uint8Array(length) }], (device) => {
        const target = new Uint8Array(4).fill(9);
        expect(() => device.readRegion(7, 0, target)).toThrow("instead of 20");
        expect(target).toEqual(new Uint8Array(4).fill(9));
      });
    });

    test.each<[string, Lie]>([
      ["the wrong id", { command: Command.regionRead, idShift: 3 }],
      ["the wrong command", { command: Command.regionRead, answersCommand: Command.regionWrite }],
      [
        "two answers",
        { command: Command.regionRead, before: [header({ id: 77, command: Command.regionRead, flags: 1 })] },
      ],
    ])("%s ends the connection", async (_, lie) => {
      await against([lie], async (device, mine) => {
        const gone: Error[] = [];
        mine.onPresence((event) => {
          if (event.kind === "gone") gone.push(event.error);
        });
        expect(() => device.readRegion(7, 0, new Uint8Array(4))).toThrow(VfioUserProtocolError);
        expect(mine.connected).toBe(false);
        await Promise.resolve();
        expect(gone).toHaveLength(1);
        expect(() => device.readRegion(7, 0, new Uint8Array(4))).toThrow(DeviceGoneError);
      });
    });

    test("a missing answer ends the connection, and all objects can still be closed", async () => {
      await server.tell({ command: Command.deviceReset, silent: true });
      const device = PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: TIMEOUT_MS } });
      device.enableInterrupts({ kind: "msix", count: 3 });
      device.dma.alloc(4096);
      expect(() => device.reset()).toThrow(TimeoutError);
      device.close();
    });

    test.each<[string, Omit<Lie, "command">]>([
      ["hangs up", { hangUp: true, raw: new Uint8Array(0) }],
      ["is silent", { silent: true }],
    ])("a server that %s while a device is closed doesn't prevent that", async (_, how) => {
      await server.tell(
        { command: Command.dmaUnmap, ...how },
        { command: Command.deviceSetIrqs },
        { command: Command.deviceSetIrqs, ...how },
      );
      const device = PciDevice.open(`vfio-user:${server.path}`, { vfioUser: { timeoutMs: TIMEOUT_MS } });
      device.enableInterrupts({ kind: "msix" });
      device.dma.alloc(4096);
      device.close();
      expect(device.closed).toBe(true);
    });
  });

  describe("while no request waits", () => {
    const gone = (mine: VfioUserClient): Promise<Error> =>
      new Promise((resolve) =>
        mine.onPresence((event) => {
          if (event.kind === "gone") resolve(event.error);
        }),
      );

    test("an answer without a request ends the connection", async () => {
      const extra = header({ id: 9, command: Command.regionRead, flags: 1 });
      await against([{ command: Command.deviceReset, after: [extra] }], async (device, mine) => {
        const going = gone(mine);
        device.reset();
        expect(await going).toBeInstanceOf(VfioUserProtocolError);
      });
    });

    test("invalid bytes end the connection", async () => {
      await against(
        [{ command: Command.deviceReset, after: [Buffer.alloc(256, 0xff)] }],
        async (device, mine) => {
          const going = gone(mine);
          device.reset();
          expect(await going).toBeInstanceOf(VfioUserProtocolError);
        },
      );
    });

    test("the end of the connection is reported", async () => {
      await against([{ command: Command.deviceReset, hangUp: true }], async (device, mine) => {
        const going = gone(mine);
        device.reset();
        expect(await going).toBeInstanceOf(DeviceGoneError);
        expect(() => device.info()).toThrow(DeviceGoneError);
      });
    });
  });

  describe("asking for memory", () => {
    const PAGE = 4096;
    const LIMIT = 1024 * 1024;
    const AT = 0x10_0000n;
    const ask = (command: number, addr: bigint, count: bigint, data = new Uint8Array(0)): Buffer =>
      header({ id: 5, command, payload: Buffer.concat([dmaAccess.encode({ addr, count }), data]) });
    const read = (addr: bigint, count: bigint): Buffer => ask(Command.dmaRead, addr, count);
    const write = (addr: bigint, length: number, count = BigInt(length)): Buffer =>
      ask(Command.dmaWrite, addr, count, new Uint8Array(length).fill(0xee));
    const end = AT + BigInt(PAGE);

    /** Sends one request of the server's at a client with a page of each right. @returns errno of the client's answer */
    async function asked(
      message: Uint8Array,
    ): Promise<{ errno: number; payload: Uint8Array; touched: boolean }> {
      return await against([{ command: Command.deviceReset, before: [message] }], async (device, mine) => {
        const mapper = new VfioUserMapper(mine);
        const pages = ["read-write", "read", "write"].map((access, i) => {
          const memory = MappedMemory.memfd(PAGE);
          memory.bytes.fill(0x11);
          const at = AT + BigInt(2 * i * PAGE);
          mapper.mapFile(memory.fd, 0, PAGE, access as "read-write" | "read" | "write", at);
          return { at, memory };
        });
        try {
          device.reset();
          // The client's answer is on its way before its next request.
          device.info();
          const [first] = await server.seen();
          if (first === undefined) throw new Error("the client did not answer");
          const touched = pages.some(({ memory }) => memory.bytes.some((byte) => byte !== 0x11));
          return { errno: first.errno, payload: first.payload, touched };
        } finally {
          for (const { at, memory } of pages) {
            mapper.unmap(at, PAGE);
            memory.close();
          }
        }
      });
    }

    test("a request for mapped memory is answered", async () => {
      const good = await asked(read(AT, BigInt(PAGE)));
      expect(good).toMatchObject({ errno: 0, touched: false });
      expect(good.payload.subarray(16).every((byte) => byte === 0x11)).toBe(true);
      expect(good.payload).toHaveLength(16 + PAGE);
      expect(await asked(write(AT + 8n, 64))).toMatchObject({ errno: 0, touched: true });
    });

    test.each<[string, Uint8Array, number]>([
      ["that isn't mapped", read(0x1000n, 4n), 14],
      ["behind a mapping", read(end, 4n), 14],
      ["partly mapped", read(end - 4n, 8n), 14],
      ["partly mapped, before", read(AT - 4n, 8n), 14],
      ["at the end of all addresses", read(2n ** 64n - 4n, 8n), 14],
      ["mapped for writing only", read(AT + BigInt(4 * PAGE), 4n), 14],
      ["mapped for reading only", write(AT + BigInt(2 * PAGE), 4), 14],
      ["partly mapped, to write", write(end - 4n, 8), 14],
      ["not mapped, to write", write(0n, 8), 14],
      ["of more than the limit", read(AT, BigInt(LIMIT + 1)), 22],
      ["of all there is", read(0n, 2n ** 64n - 1n), 22],
      ["with less data than it says", write(AT, 8, 16n), 22],
      ["with more data than it says", write(AT, 16, 8n), 22],
      ["with half a header", header({ id: 5, command: Command.dmaRead, payload: new Uint8Array(9) }), 22],
      ["by a command that only clients have", header({ id: 5, command: Command.regionRead }), 25],
      ["by an unknown command", header({ id: 5, command: 0xffff }), 25],
    ])("%s", async (_, message, errno) => {
      const { payload, ...rest } = await asked(message);
      expect(rest).toEqual({ errno, touched: false });
      expect(payload).toHaveLength(0);
    });

    test("endless requests of the server don't keep a request from its time limit", async () => {
      const flood = { command: Command.deviceReset, flood: true };
      const reset = (device: VfioUserDevice): void => {
        expect(() => device.reset()).toThrow(TimeoutError);
      };
      await against([flood], reset, false, TIMEOUT_MS);
    });
  });

  test("every answer that breaks the protocol is an IovaError", async () => {
    await server.tell({ command: Command.regionRead, raw: new Uint8Array(0), hangUp: true });
    expect(await caught(() => open(server.path))).toBeInstanceOf(IovaError);
  });
});
