/** What must not work with DMA memory: every wrong size, place, file and moment, each refused and with nothing left behind. */
import {
  chmodSync,
  closeSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { groupOf } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  BusyError,
  bindToVfio,
  ClosedError,
  DmaPool,
  MappedMemory,
  NvmeController,
  PciDevice,
  type VfioBinding,
} from "../../../src/index.js";
import { runChild } from "../../support/child.js";
import { Edu } from "../../support/edu.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { mappings, residentBytes } from "../../support/proc.js";
import { run } from "../../support/run.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const HUGE = 2 * MIB;
const MSI_WINDOW = 0xfee0_0000n;
const backends = ["iommufd", "type1", "iommufd-compat"] as const;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

const spaceError = (reason: string): unknown => expect.objectContaining({ name: "IovaSpaceError", reason });

describe.each(backends)("bad input to %s", (backend) => {
  expectNothingLeft();
  const open = (): PciDevice => PciDevice.open(eduBdf(), { backend });

  test("rejects sizes that are 0, negative, fractional, too large for a mapping, or larger than memory", () => {
    using device = open();
    const { dma } = device;
    const before = holdings();
    for (const size of [0, -1, -PAGE, 0.5, PAGE + 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      expect(() => dma.alloc(size), String(size)).toThrow(ArgumentError);
      expect(() => dma.alloc(size, { shared: true }), String(size)).toThrow(ArgumentError);
      expect(() => dma.alloc(size, { pages: "best" }), String(size)).toThrow(ArgumentError);
    }
    // @ts-expect-error what a caller without types may hand over
    expect(() => dma.alloc("4096")).toThrow(ArgumentError);
    // @ts-expect-error the same
    expect(() => dma.alloc(4096n)).toThrow(ArgumentError);
    // More than one mapping can hold.
    expect(() => dma.alloc(2 ** 33)).toThrow(ArgumentError);
    // More than a pool of huge pages can ever have here.
    expect(() => dma.alloc(2 ** 31, { pages: HUGE })).toThrow(/huge pages of 2097152 bytes are free/);
    expect(holdings()).toEqual(before);
  });

  test("rejects fixed addresses that are unaligned, reserved, taken, partly taken, beyond the aperture or beyond 64 bits", () => {
    using device = open();
    const { dma } = device;
    using _taken = dma.alloc(4 * PAGE, { iova: 0x10_0000n });
    const before = holdings();
    const end = (dma.iovaRanges().at(-1)?.last ?? 0n) + 1n;
    for (const shared of [false, true]) {
      for (const at of [1n, 0x800n, 0x10_0001n]) {
        expect(() => dma.alloc(PAGE, { iova: at, shared }), `${at}`).toThrow(ArgumentError);
      }
      for (const at of [MSI_WINDOW, MSI_WINDOW - BigInt(PAGE), end, end - BigInt(PAGE)]) {
        expect(() => dma.alloc(2 * PAGE, { iova: at, shared }), `${at}`).toThrow(spaceError("reserved"));
      }
      for (const at of [0x10_0000n, 0x0f_f000n, 0x10_3000n]) {
        expect(() => dma.alloc(2 * PAGE, { iova: at, shared }), `${at}`).toThrow(spaceError("taken"));
      }
      for (const at of [-1n, 2n ** 64n]) {
        expect(() => dma.alloc(PAGE, { iova: at, shared }), `${at}`).toThrow(ArgumentError);
      }
      expect(() => dma.alloc(PAGE, { iova: 2n ** 64n - BigInt(PAGE), shared })).toThrow(
        spaceError("reserved"),
      );
      expect(() => dma.alloc(2 * PAGE, { iova: 2n ** 64n - BigInt(PAGE), shared })).toThrow(
        spaceError("reserved"),
      );
    }
    expect(holdings()).toEqual(before);
  });

  test("rejects huge pages of a size that there is none of, and more than there are", () => {
    using device = open();
    const before = holdings();
    expect(() => device.dma.alloc(1024 * HUGE, { pages: HUGE })).toThrow(
      /huge pages of 2097152 bytes are free/,
    );
    expect(() => device.dma.alloc(PAGE, { pages: 8 * MIB })).toThrow(/no huge pages of 8388608 bytes/);
    expect(() => device.dma.alloc(PAGE, { pages: 8 * MIB, shared: true })).toThrow(
      /no huge pages of 8388608 bytes/,
    );
    for (const pages of [0, -1, 3 * MIB, 2048, Number.NaN]) {
      expect(() => device.dma.alloc(PAGE, { pages }), String(pages)).toThrow(ArgumentError);
    }
    expect(holdings()).toEqual(before);
  });

  test("rejects files that are too short, and notices files that are truncated later", async () => {
    const path = "/dev/shm/iova-short";
    writeFileSync(path, Buffer.alloc(PAGE));
    const fd = openSync(path, "r+");
    try {
      expect(() => MappedMemory.ofFile(fd, 0, 2 * PAGE, path)).toThrow(/ends at 4096 bytes/);
      expect(() => MappedMemory.ofFile(fd, PAGE, 1, path)).toThrow(ArgumentError);
      // Cut while it is mapped: in a process of its own, which has to live.
      truncateSync(path, 4 * PAGE);
      const way = backend === "iommufd" ? "iommufd" : "type1";
      const child = await runChild(guestProgram("truncated"), eduBdf(), way, path);
      expect([await child.ended, child.stderr]).toEqual([0, ""]);
      expect(JSON.parse(child.stdout)).toEqual(Array(6).fill("ERR_IOVA_STATE"));
    } finally {
      closeSync(fd);
      rmSync(path);
    }
  });

  test("refuses every close() while something is in flight", () => {
    using device = open();
    using pool = new DmaPool(device.dma, { blockSizes: [PAGE], slabBytes: HUGE });
    using memory = MappedMemory.anonymous(PAGE);
    using buffer = device.dma.map(memory);
    pool.buffer(pool.alloc(1)).lease.hold("command 1");
    buffer.lease.hold("command 2");
    for (const target of [device, device.dma, pool, memory, buffer]) {
      expect(() => target.close()).toThrow(BusyError);
      expect(target.closed).toBe(false);
    }
    expect(device.io.info().isPci).toBe(true);
    pool.buffer(pool.alloc(1)).lease.drop();
    buffer.lease.drop();
    device.close();
    expect([pool, buffer, memory].map(({ closed }) => closed)).toEqual([true, true, false]);
    expect(() => pool.alloc(1)).toThrow(ClosedError);
  });

  test("rejects buffers of another space, closed buffers, and values that aren't buffers", async () => {
    using device = open();
    await using nvme = await NvmeController.open(nvmeBdf(), { backend });
    const ns = await nvme.namespace(1);
    using foreign = device.dma.alloc(PAGE);
    using own = nvme.dma.alloc(PAGE);
    await expect(ns.read(0n, foreign, { length: 512 })).rejects.toThrow(/another DMA space/);
    expect(() => nvme.dma.translate(foreign.bytes)).toThrow(ArgumentError);
    expect(() => nvme.dma.segments(own, foreign)).toThrow(ArgumentError);
    using pool = new DmaPool(device.dma, { blockSizes: [PAGE] });
    using otherPool = new DmaPool(nvme.dma, { blockSizes: [PAGE] });
    const block = pool.alloc(1);
    expect(() => otherPool.free(block)).toThrow(/belongs to another pool/);
    expect(nvme.dma.translate(own.bytes)).toBe(own.iova);
  });
});

describe("a user without privileges", () => {
  expectNothingLeftSoon();

  /** Everybody may open the device's nodes while this runs. */
  async function asNobody(backend: string, account: string): Promise<Record<string, unknown>> {
    const [node = ""] = readdirSync(`/sys/bus/pci/devices/${eduBdf()}/vfio-dev`);
    const paths = [
      "/dev/iommu",
      "/dev/vfio/vfio",
      `/dev/vfio/devices/${node}`,
      `/dev/vfio/${groupOf(eduBdf())}`,
    ];
    const modes = paths.map((path) => [path, statSync(path).mode] as const);
    for (const path of paths) chmodSync(path, 0o666);
    try {
      const args = [process.execPath, guestProgram("nobody-map"), eduBdf(), backend, account];
      // The limit is taken on by the process, and holds once it is nobody.
      const { status, stdout, stderr } = await run("sh", ["-c", 'ulimit -l 1024; exec "$@"', "sh", ...args]);
      expect([status, stderr]).toEqual([0, ""]);
      return JSON.parse(stdout);
    } finally {
      for (const [path, mode] of modes) chmodSync(path, mode);
    }
  }

  test.each([
    ["iommufd", "user", "pinnedKib"],
    ["iommufd", "process", "lockedKib"],
    ["type1", "process", "lockedKib"],
  ])(
    "gets a MemlockError before anything is mapped through %s, which charges the %s",
    async (backend, account, counter) => {
      const result = await asNobody(backend, account);
      const refused = (sizeBytes: number, used: number): unknown => ({
        name: "MemlockError",
        code: "ERR_IOVA_MEMLOCK",
        message: expect.stringMatching(
          new RegExp(
            `^${sizeBytes} bytes can't be pinned: the memlock limit is 1048576 bytes, of which this process uses ${used}` +
              `${account === "user" ? "; all processes of this user share the limit" : ""}\\. Raise it: ulimit -l`,
          ),
        ),
      });
      expect(result).toMatchObject({
        tooMuch: refused(2 * MIB, 0),
        fits: "mapped",
        together: refused(512 * 1024, 768 * 1024),
        [counter]: 768,
        unchanged: true,
      });
    },
  );
});

describe.each(["iommufd", "type1"] as const)("a long-lived space through %s", (backend) => {
  // As many as take about a minute under emulation, where a cycle costs milliseconds.
  const CYCLES = 10_000;

  test(`has the same descriptors, mappings, addresses and memory after ${CYCLES} maps and unmaps`, {
    timeout: 900_000,
  }, async () => {
    using device = PciDevice.open(eduBdf(), { backend });
    const { dma } = device;
    using memory = MappedMemory.anonymous(PAGE, { populate: true });
    using fileBacked = MappedMemory.memfd(PAGE, { populate: true });
    const cycle = (i: number): bigint => {
      // Every tenth by alloc, whose memory comes and goes, too; every tenth by file; some below a limit, some fixed.
      const kind = i % 10;
      const buffer =
        kind === 0
          ? dma.alloc(PAGE)
          : dma.map(
              kind === 1 ? fileBacked : memory,
              kind === 2 ? { iova: 0x7000_0000n } : kind === 3 ? { addressBits: 32 } : {},
            );
      const { iova } = buffer;
      buffer.close();
      return iova;
    };
    const settle = async (): Promise<void> => {
      for (let i = 0; i < 4; i++) {
        global.gc?.();
        await new Promise(setImmediate);
      }
    };
    for (let i = 0; i < 1000; i++) cycle(i);
    await settle();
    const places = Array.from({ length: 10 }, (_, i) => cycle(i));
    const before = { holdings: holdings(), mappings: mappings().length, resident: residentBytes() };
    for (let i = 0; i < CYCLES; i++) cycle(i);
    await settle();
    expect(holdings()).toEqual(before.holdings);
    expect(Array.from({ length: 10 }, (_, i) => cycle(i))).toEqual(places);
    // A mapping or a page lost per cycle would be 10,000 more, or 40 MiB.
    expect(mappings().length - before.mappings).toBeLessThan(500);
    expect(residentBytes() - before.resident).toBeLessThan(32 * MIB);
    const edu = new Edu(device.io);
    using buffer = dma.alloc(PAGE, { addressBits: 28 });
    buffer.bytes.fill(0x5a, 0, 64);
    await edu.load(buffer.iova, 64);
    await edu.store(buffer.iova + 64n, 64);
    expect(buffer.view(64, 64).every((byte) => byte === 0x5a)).toBe(true);
  });
});
