/** What DMA memory can be made of, where it can lie, who shares it: on every backend with a real device at the other end. */
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IoasMapper, Iommufd } from "../../../src/doors/iommufd.js";
import {
  ArgumentError,
  bindToVfio,
  DmaPool,
  DmaSpace,
  MappedMemory,
  NvmeController,
  PciDevice,
  type VfioBinding,
} from "../../../src/index.js";
import { Edu } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { expectDma } from "../../support/expect-dma.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { intelTableWalk } from "../../support/intel-page-table.js";
import { physicalAddress } from "../../support/pagemap.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const HUGE = 2 * MIB;
const GIB = 1024 * MIB;
/** The default controller's memory buffer. */
const CMB_BAR = 2;
/** The IOMMU backends, and the one in which an iommufd answers for a container. */
const backends = ["iommufd", "type1", "iommufd-compat"] as const;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

const isThere = (entry: unknown): boolean => typeof entry === "bigint" && entry !== 0n;

describe.each(backends)("DMA memory through %s", (backend) => {
  expectNothingLeft();
  const open = (): PciDevice => PciDevice.open(eduBdf(), { backend });

  test("is a sealed memfd: other mappings of it see the same bytes, and it can't be truncated", async () => {
    using device = open();
    expect(device.backend).toBe(backend);
    expect(device.dma.backend).toBe(backend);
    using buffer = device.dma.alloc(8 * PAGE, { shared: true, addressBits: 28 });
    expect(buffer.backing).toMatchObject({ kind: "memfd", pageBytes: PAGE });
    using other = MappedMemory.ofFile(buffer.memory.fd, 0, 8 * PAGE, "the same memfd");
    await expectDma(new Edu(device.io), buffer);
    expect(Buffer.compare(other.bytes, buffer.bytes)).toBe(0);
    const path = `/proc/self/fd/${buffer.memory.fd}`;
    expect(() => writeFileSync(path, "")).toThrow(/EPERM/);
  });

  test.each([false, true])("is a huge page if the caller asks for one (shared: %s)", async (shared) => {
    using device = open();
    using buffer = device.dma.alloc(PAGE, { pages: HUGE, shared, iovaAlignBytes: HUGE, addressBits: 28 });
    expect(buffer.backing).toMatchObject({ kind: shared ? "memfd" : "huge", pageBytes: HUGE, numaNode: 0 });
    expect(buffer.memory.sizeBytes).toBe(HUGE);
    expect(buffer.iova % BigInt(HUGE)).toBe(0n);
    const start = physicalAddress(buffer.memory.address);
    expect(physicalAddress(buffer.memory.address + HUGE - PAGE)).toBe(start + BigInt(HUGE - PAGE));
    await expectDma(new Edu(device.io), buffer);
  });

  test("is of the largest pages available, and says which", () => {
    using device = open();
    const { dma } = device;
    {
      using huge = dma.alloc(HUGE, { pages: "best" });
      expect(huge.backing).toMatchObject({ kind: "huge", pageBytes: HUGE });
      // Half of a huge page would be lost.
      using small = dma.alloc(MIB, { pages: "best" });
      expect(small.backing).toMatchObject({ kind: "anonymous", pageBytes: PAGE });
    }
    // All reserved ones in use: transparent ones are next.
    const free = Number(readFileSync("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "utf8"));
    using _taken = MappedMemory.anonymous(free * HUGE, { hugePageBytes: HUGE });
    using transparent = dma.alloc(HUGE, { pages: "best" });
    expect(transparent.backing).toMatchObject({ kind: "transparent-huge", pageBytes: HUGE });
    using also = dma.alloc(2 * HUGE, { pages: "transparent" });
    expect(also.backing.kind).toBe("transparent-huge");
    // And an explicit wish is an error, with the pool named.
    expect(() => dma.alloc(HUGE, { pages: HUGE })).toThrow(
      sysError("mmap", "ENOMEM", {
        hint: expect.stringMatching(/^0 of \d+ huge pages of 2097152 bytes are free/),
      }),
    );
    expect(() => dma.alloc(HUGE, { pages: HUGE, shared: true })).toThrow(/0 of \d+ huge pages/);
  });

  test("lies at addresses where the IOMMU can use pages of the same size, without being asked", () => {
    using device = open();
    const { dma } = device;
    using _odd = dma.alloc(PAGE);
    using huge = dma.alloc(HUGE, { pages: HUGE });
    using narrow = dma.alloc(HUGE, { pages: HUGE, addressBits: 32 });
    for (const { iova } of [huge, narrow]) {
      expect(iova % BigInt(HUGE)).toBe(0n);
      expect(intelTableWalk(eduBdf(), iova)).toMatchObject({ pmd: expect.toSatisfy(isThere), pte: 0n });
    }
    using gigantic = dma.alloc(GIB, { pages: "best", addressBits: 36 });
    expect(gigantic.backing).toMatchObject({ kind: "huge", pageBytes: GIB });
    expect(gigantic.iova % BigInt(GIB)).toBe(0n);
    const walk = intelTableWalk(eduBdf(), gigantic.iova);
    expect(walk).toMatchObject({ pud: expect.toSatisfy(isThere), pmd: 0n, pte: 0n });
    gigantic.bytes[GIB - 1] = 1;
  });

  test("comes from the requested NUMA node, locked, populated and aligned", () => {
    using device = open();
    using buffer = device.dma.alloc(16 * PAGE, { numaNode: 0, lock: true, alignBytes: 64 * 1024 });
    expect(buffer.backing.numaNode).toBe(0);
    expect(buffer.memory.address % (64 * 1024)).toBe(0);
    expect(() => device.dma.alloc(PAGE, { numaNode: 7 })).toThrow("there is no memory on NUMA node 7");
    expect(() => device.dma.alloc(PAGE, { numaNode: -1 })).toThrow(ArgumentError);
  });

  test("can be a file on tmpfs that the caller mapped", async () => {
    using device = open();
    const folder = mkdtempSync("/dev/shm/iova-");
    const path = join(folder, "data");
    writeFileSync(path, Buffer.alloc(4 * PAGE, 1));
    const fd = openSync(path, "r+");
    try {
      using memory = MappedMemory.ofFile(fd, PAGE, 2 * PAGE, path);
      using buffer = device.dma.map(memory, { addressBits: 28 });
      await expectDma(new Edu(device.io), buffer, 0, PAGE + 512);
      const file = readFileSync(path);
      expect(Buffer.compare(file.subarray(PAGE, 3 * PAGE), buffer.bytes)).toBe(0);
      expect(file.subarray(0, PAGE).every((byte) => byte === 1)).toBe(true);
    } finally {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    }
  });

  test("lies within a narrow device's reach; later memory of other devices leaves that range free", async () => {
    using device = open();
    const { dma } = device;
    const limit = 1n << 28n;
    using narrow = dma.alloc(PAGE, { addressBits: 28 });
    expect(narrow.iova).toBeLessThan(limit);
    await expectDma(new Edu(device.io), narrow);
    using wide = dma.alloc(PAGE);
    expect(wide.iova).toBeGreaterThanOrEqual(limit);
    using middle = dma.alloc(PAGE, { addressBits: 32 });
    expect(middle.iova >= limit && middle.iova < 1n << 32n).toBe(true);
    using wider = dma.alloc(PAGE);
    expect(wider.iova).toBeGreaterThanOrEqual(1n << 32n);
    using large = dma.alloc(PAGE, { addressBits: 38 });
    expect(large.iova >= 1n << 32n && large.iova < 1n << 38n).toBe(true);
    // More than the IOMMU itself translates here.
    using huge = dma.alloc(PAGE, { addressBits: 40 });
    expect(huge.iova).toBeLessThan(1n << 40n);
    // Half of the low part: with that gone, what is left is too small for another half.
    using _half = dma.alloc(128 * MIB, { addressBits: 28, iovaAlignBytes: HUGE });
    expect(() => dma.alloc(128 * MIB, { addressBits: 28 })).toThrow(
      expect.objectContaining({ name: "IovaSpaceError", reason: "full" }),
    );
    using again = dma.alloc(PAGE, { addressBits: 28 });
    expect(again.iova).toBeLessThan(limit);
  });

  test("is refused with a clear error if the device reaches no free range", () => {
    using device = open();
    const { dma } = device;
    using _all = dma.alloc(7 * PAGE, { iova: 0x1000n });
    expect(() => dma.alloc(PAGE, { addressBits: 15 })).toThrow(
      expect.objectContaining({ name: "IovaSpaceError", reason: "full" }),
    );
    using above = dma.alloc(PAGE, { addressBits: 16 });
    expect(above.iova).toBeGreaterThanOrEqual(0x8000n);
  });

  test("avoids what was mapped through the kernel's objects behind the space's back", () => {
    using device = open();
    const { mapper } = device.dma;
    using memory = MappedMemory.anonymous(PAGE);
    if (!(mapper instanceof IoasMapper)) return;
    using first = device.dma.alloc(PAGE, { addressBits: 20 });
    // Next to it, and behind this library's back.
    const next = first.iova + BigInt(PAGE);
    mapper.ioas.map(memory, { iova: next });
    using second = device.dma.alloc(PAGE, { addressBits: 20 });
    expect(second.iova).not.toBe(next);
    mapper.ioas.unmap(next, PAGE);
  });

  test("can be a pool's, whose blocks the device reaches one by one", async () => {
    using device = open();
    using pool = new DmaPool(device.dma, {
      blockSizes: [256],
      slabBytes: HUGE,
      pages: HUGE,
      addressBits: 28,
    });
    const [a, b] = [pool.alloc(256), pool.alloc(256)];
    pool.bytes(a).set(randomBytes(256));
    const edu = new Edu(device.io);
    await edu.load(pool.iova(a), 256);
    await edu.store(pool.iova(b), 256);
    expect(Buffer.compare(pool.bytes(a), pool.bytes(b))).toBe(0);
    expect(pool.buffer(a).backing.kind).toBe("huge");
  });

  test("is shared with a worker without a copy, and stays open while the worker has it", async () => {
    using device = open();
    using buffer = device.dma.alloc(PAGE, { addressBits: 28 });
    const module = pathToFileURL(join(process.cwd(), "dist/src/index.js")).href;
    const program = `
      import { parentPort, workerData } from "node:worker_threads";
      const { BorrowedBuffer } = await import(workerData.module);
      const buffer = BorrowedBuffer.of(workerData.shared);
      buffer.hold();
      buffer.bytes.fill(0x5a, 0, 256);
      parentPort.postMessage("filled");
      parentPort.once("message", () => {
        const copied = buffer.bytes.subarray(2048, 2304).every((byte) => byte === 0x5a);
        buffer.drop();
        parentPort.postMessage(copied);
      });`;
    const url = new URL(`data:text/javascript,${encodeURIComponent(program)}`);
    const worker = new Worker(url, { workerData: { module, shared: buffer.share() } });
    const answer = (): Promise<unknown> =>
      new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      });
    try {
      expect(await answer()).toBe("filled");
      const edu = new Edu(device.io);
      await edu.load(buffer.iova, 256);
      await edu.store(buffer.iova + 2048n, 256);
      expect(() => device.close()).toThrow(/other threads use it/);
      expect(buffer.closed).toBe(false);
      const copied = answer();
      worker.postMessage("look");
      expect(await copied).toBe(true);
      buffer.close();
    } finally {
      await worker.terminate();
    }
  });
});

describe.each(backends)("several devices in one address space of %s", (backend) => {
  expectNothingLeft();

  test("share what was mapped before the second came, and keep it when the second leaves", async () => {
    using edu = PciDevice.open(eduBdf(), { backend });
    using buffer = edu.dma.alloc(PAGE, { addressBits: 28 });
    const data = randomBytes(512);
    {
      await using nvme = await NvmeController.open(nvmeBdf(), { dma: edu.dma });
      expect(nvme.dma).toBe(edu.dma);
      expect(nvme.backend).toBe(backend);
      expect(nvme.backendReason).toContain("was to join");
      const ns = await nvme.namespace(1);
      buffer.bytes.set(data);
      await ns.write(64n, buffer, { length: 512 });
      buffer.bytes.fill(0);
      await ns.read(64n, buffer, { length: 512 });
      expect(Buffer.compare(buffer.view(0, 512), data)).toBe(0);
      // One owner: both know it by the same address.
      await new Edu(edu.io).load(buffer.iova, 512);
    }
    await new Edu(edu.io).store(buffer.iova + 1024n, 512);
    expect(Buffer.compare(buffer.view(1024, 512), data)).toBe(0);
  });

  test("are closed with the space, and must be of its backend", () => {
    using edu = PciDevice.open(eduBdf(), { backend });
    const other = backend === "type1" ? "iommufd" : "type1";
    expect(() => PciDevice.open(nvmeBdf(), { backend: other, dma: edu.dma })).toThrow(ArgumentError);
    // @ts-expect-error what a caller without types may hand over
    expect(() => PciDevice.open(nvmeBdf(), { dma: {} })).toThrow(ArgumentError);
    const nvme = PciDevice.open(nvmeBdf(), { dma: edu.dma });
    edu.close();
    expect(nvme.closed).toBe(true);
    expect(() => PciDevice.open(nvmeBdf(), { dma: edu.dma })).toThrow(/closed/);
  });

  test("can be closed one by one while another has commands in flight; the owner can't", () => {
    using edu = PciDevice.open(eduBdf(), { backend });
    using buffer = edu.dma.alloc(PAGE);
    const nvme = PciDevice.open(nvmeBdf(), { dma: edu.dma });
    buffer.lease.hold("a command of the edu");
    nvme.close();
    expect(() => edu.close()).toThrow(/a command of the edu uses it/);
    buffer.lease.drop();
  });
});

describe.each(["iommufd", "type1"] as const)("peer-to-peer DMA through %s", (backend) => {
  expectNothingLeft();

  test("lets another device read and write a controller's memory buffer through the common space", async () => {
    using edu = PciDevice.open(eduBdf(), { backend });
    using nvme = PciDevice.open(nvmeBdf(), { dma: edu.dma });
    using memory = edu.dma.alloc(PAGE, { addressBits: 28 });
    const cmb = nvme.io.mapRegion(CMB_BAR, MIB, MIB);
    expect(cmb.backing.kind).toBe("device");
    const peer = edu.dma.map(cmb, { addressBits: 28 });
    nvme.io.writeRegion(CMB_BAR, MIB, new Uint8Array(64));
    const engine = new Edu(edu.io);
    memory.bytes.fill(0x6b, 0, 64);
    await engine.load(memory.iova, 64);
    await engine.store(peer.iova, 64);
    const seen = new Uint8Array(64);
    nvme.io.readRegion(CMB_BAR, MIB, seen);
    expect(seen.every((byte) => byte === 0x6b)).toBe(true);
    // And the other way.
    nvme.io.writeRegion(CMB_BAR, MIB + PAGE, new Uint8Array(64).fill(0x3c));
    await engine.load(peer.iova + BigInt(PAGE), 64);
    await engine.store(memory.iova, 64);
    expect(memory.view(0, 64).every((byte) => byte === 0x3c)).toBe(true);
    // The memory goes with its device, and the mapping before it.
    nvme.close();
    expect([cmb.closed, peer.closed, memory.closed]).toEqual([true, true, false]);
  });
});

describe("an address space that is made before any device is open", () => {
  expectNothingLeft();

  test("has mappings that a device reaches once it joins", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using space = new DmaSpace(new IoasMapper(ioas));
    using buffer = space.alloc(PAGE, { addressBits: 28 });
    using edu = PciDevice.open(eduBdf(), { dma: space });
    await expectDma(new Edu(edu.io), buffer);
    edu.close();
    expect(buffer.closed).toBe(false);
  });

  test("refuses a device that can't reach what is mapped", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using space = new DmaSpace(new IoasMapper(ioas));
    // The window for interrupts.
    using _buffer = space.alloc(PAGE, { iova: 0xfee0_0000n });
    expect(() => PciDevice.open(eduBdf(), { dma: space })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EADDRINUSE", {
        hint: expect.stringContaining("a mapping lies at addresses that this device can't use"),
      }),
    );
  });
});
