/** PciDevice and its parts with edu on every backend: configuration space, registers, DMA and interrupts. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IoasMapper, Iommufd } from "../../../src/doors/iommufd.js";
import { VfioDevice } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  ClosedError,
  DmaSpace,
  Interrupts,
  listPciFunctions,
  MappedMemory,
  PciCommand,
  PciDevice,
  PciRegister,
  readPciFunction,
  StateError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import {
  EDU_DMA_INTERRUPT,
  EDU_IDENTIFICATION,
  EDU_MAX_TRANSFER,
  Edu,
  EduRegister,
} from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
import { provoke } from "../../support/provoke.js";
import { nextSignal } from "../../support/signal.js";

const PAGE = 4096;
const TESTDEV_IO_BAR = 1;
/** Capability IDs of the PCI Code and ID Assignment specification. */
const POWER_MANAGEMENT = 0x01;
const MSI = 0x05;
const PCI_EXPRESS = 0x10;
const MSIX = 0x11;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe("listPciFunctions()", () => {
  test("finds this machine's functions with what sysfs says about them", () => {
    const functions = listPciFunctions();
    expect(functions.map(({ bdf }) => bdf)).toEqual(functions.map(({ bdf }) => bdf).sort());
    expect(functions.find(({ bdf }) => bdf === eduBdf())).toEqual(readPciFunction(eduBdf()));
    expect(readPciFunction(eduBdf())).toMatchObject({
      vendorId: 0x1234,
      deviceId: 0x11e8,
      driver: "vfio-pci",
      iommuGroup: expect.any(Number),
      bars: [{ index: 0, kind: "memory", sizeBytes: 1024 * 1024, prefetchable: false, is64Bit: false }],
    });
    expect(readPciFunction(emptyBarBdf()).bars.map(({ kind }) => kind)).toEqual(["memory", "io", "memory"]);
    const groups = [eduBdf(), nvmeBdf(), emptyBarBdf()].map((bdf) => readPciFunction(bdf).iommuGroup);
    expect(new Set(groups).size).toBe(3);
  });
});

describe.each(backendNames)("a PciDevice through %s", (backend) => {
  expectNothingLeft();
  const open = (bdf = eduBdf()): PciDevice => PciDevice.open(bdf, { backend });

  test("opens a function and names its backend", () => {
    using device = open();
    expect(device).toMatchObject({
      bdf: eduBdf(),
      backend,
      backendReason: `${backend} was asked for`,
      function: { deviceId: 0x11e8 },
    });
    expect(device.dma.backend).toBe(backend);
    // Nobody else can have it meanwhile, whichever way.
    for (const other of backendNames) {
      expect(() => PciDevice.open(eduBdf(), { backend: other })).toThrow();
    }
    const refusal = "can't be opened through any backend. iommufd: ";
    expect(() => PciDevice.open(eduBdf())).toThrow(UnsupportedError);
    expect(() => PciDevice.open(eduBdf())).toThrow(refusal);
  });

  test("reads and writes the configuration space", () => {
    using device = open();
    const { config } = device;
    expect(config.sizeBytes).toBe(256);
    expect(config.read16(PciRegister.vendorId)).toBe(0x1234);
    expect(config.read32(PciRegister.vendorId)).toBe(0x11e81234);
    expect([config.read8(PciRegister.deviceId), config.read8(PciRegister.deviceId + 1)]).toEqual([
      0xe8, 0x11,
    ]);
    expect(config.capabilities().map(({ id }) => id)).toEqual([MSI]);
    expect(config.extendedCapabilities()).toEqual([]);
    // Cache line size: a register that only remembers.
    config.write8(0x0c, 0x10);
    expect(config.read8(0x0c)).toBe(0x10);
    config.write8(0x0c, 0);
    expect(config.busMaster).toBe(false);
    config.busMaster = true;
    expect(config.read16(PciRegister.command) & PciCommand.busMaster).toBe(PciCommand.busMaster);
    config.busMaster = false;
    expect(config.busMaster).toBe(false);
  });

  test("keeps the configuration space from being misused", () => {
    using device = open();
    const { config } = device;
    for (const [offset, width] of [
      [256, 1],
      [-1, 1],
      [255, 2],
      [0.5, 1],
      [2, 4],
      [1, 2],
    ] as const) {
      const read = {
        1: () => config.read8(offset),
        2: () => config.read16(offset),
        4: () => config.read32(offset),
      };
      const write = {
        1: () => config.write8(offset, 0),
        2: () => config.write16(offset, 0),
        4: () => config.write32(offset, 0),
      };
      expect(read[width], `${offset}`).toThrow(ArgumentError);
      expect(write[width], `${offset}`).toThrow(ArgumentError);
    }
    expect(() => config.write8(0x0c, 256)).toThrow(ArgumentError);
    expect(() => config.write16(0x0c, -1)).toThrow(ArgumentError);
    expect(() => config.write32(0x0c, 2 ** 32)).toThrow(ArgumentError);
    // Mapped registers would fault.
    const command = config.read16(PciRegister.command);
    expect(() => config.write8(PciRegister.command, command & 0xff & ~PciCommand.memorySpace)).toThrow(
      StateError,
    );
    expect(() => config.write16(PciRegister.command, command & ~PciCommand.memorySpace)).toThrow(StateError);
    expect(() => config.write32(PciRegister.command, 0)).toThrow(StateError);
    expect(config.read16(PciRegister.command)).toBe(command);
  });

  test("keeps a function awake, because its registers would fault otherwise", () => {
    using device = open(nvmeBdf());
    const { config } = device;
    const power = config.capabilities().find(({ id }) => id === POWER_MANAGEMENT);
    const control = (power?.offset ?? 0) + 4;
    const awake = config.read16(control);
    expect(awake & 3).toBe(0);
    expect(() => config.write8(control, 3)).toThrow(StateError);
    expect(() => config.write16(control, awake | 3)).toThrow(StateError);
    expect(() => config.write32(control, awake | 3)).toThrow("can't be put to sleep");
    config.write16(control, awake);
    expect(config.read16(control) & 3).toBe(0);
    expect(device.bar(0).read32(0)).not.toBe(0);
  });

  test("finds the capabilities of PCI Express", () => {
    using device = open(nvmeBdf());
    expect(device.config.sizeBytes).toBe(4096);
    const ids = device.config.capabilities().map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining([MSIX, PCI_EXPRESS]));
    const msix = device.config.capabilities().find(({ id }) => id === MSIX);
    // Table size less one in the low 11 bits of message control.
    expect((device.config.read16((msix?.offset ?? 0) + 2) & 0x7ff) + 1).toBe(65);
  });

  test("reads and writes the same registers through a mapping and by system call", () => {
    using device = open();
    const bar = device.bar(0);
    expect(device.bar(0)).toBe(bar);
    expect(bar.sizeBytes).toBe(1024 * 1024);
    expect(bar.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
    bar.write32(EduRegister.liveness, 0x0000_ffff);
    expect(bar.read32(EduRegister.liveness)).toBe(0xffff_0000);
    bar.write64(EduRegister.dmaSource, 0x1234_5678n);
    expect(bar.read32(EduRegister.dmaSource)).toBe(0x1234_5678);
    using mapped = bar.map(0, PAGE);
    expect(Atomics.load(mapped.words, EduRegister.liveness / 4)).toBe(0xffff_0000);
    using registers = open(nvmeBdf());
    // CAP: the one register of 64 bits that is never zero.
    const capabilities = registers.bar(0).read64(0);
    expect(capabilities).toBe(
      BigInt(registers.bar(0).read32(0)) | (BigInt(registers.bar(0).read32(4)) << 32n),
    );
    expect(capabilities >> 32n).not.toBe(0n);
    using testdev = open(emptyBarBdf());
    const io = testdev.bar(TESTDEV_IO_BAR);
    // Test 0 selected: its access width in the second byte, its data register's offset after that.
    io.write32(0, 0);
    expect((io.read32(0) >> 8) & 0xff).toBeGreaterThan(0);
    expect(io.read64(0)).toBe(BigInt(io.read32(0)) | (BigInt(io.read32(4)) << 32n));
    expect(() => io.map()).toThrow(UnsupportedError);
  });

  test("refuses registers that don't exist", () => {
    using device = open();
    const bar = device.bar(0);
    for (const offset of [bar.sizeBytes, bar.sizeBytes - 2, -4, 2, 0.5, Number.NaN]) {
      expect(() => bar.read32(offset), `${offset}`).toThrow(ArgumentError);
      expect(() => bar.write32(offset, 0), `${offset}`).toThrow(ArgumentError);
      expect(() => bar.read64(offset), `${offset}`).toThrow(ArgumentError);
      expect(() => bar.write64(offset, 0n), `${offset}`).toThrow(ArgumentError);
    }
    expect(() => bar.read64(bar.sizeBytes - 4)).toThrow(ArgumentError);
    for (const value of [-(2 ** 31) - 1, 2 ** 32, 0.5, Number.NaN]) {
      expect(() => bar.write32(EduRegister.liveness, value), `${value}`).toThrow(ArgumentError);
    }
    for (const index of [1, 6, -1, 0.5]) expect(() => device.bar(index), `${index}`).toThrow(ArgumentError);
    device.close();
    expect(() => bar.read32(0)).toThrow(ClosedError);
    expect(() => bar.write32(EduRegister.liveness, 0)).toThrow(ClosedError);
    expect(() => device.bar(0)).toThrow(ClosedError);
    expect(() => device.config.read8(0)).toThrow(ClosedError);
    expect(() => device.enableInterrupts()).toThrow(ClosedError);
    expect(() => device.reset()).toThrow(ClosedError);
  });

  test("moves exactly the requested bytes both ways by DMA", async () => {
    using device = open();
    const edu = new Edu(device.io);
    using source = device.dma.alloc(PAGE);
    // Across a page's end: two translations for one transfer.
    using target = device.dma.alloc(3 * PAGE);
    source.bytes.set(randomBytes(PAGE));
    target.bytes.fill(0xee);
    await edu.load(source.iova, EDU_MAX_TRANSFER);
    await edu.store(target.iova + 1000n, EDU_MAX_TRANSFER);
    expect(Buffer.compare(target.view(1000, EDU_MAX_TRANSFER), source.view(0, EDU_MAX_TRANSFER))).toBe(0);
    expect(target.view(0, 1000).every((byte) => byte === 0xee)).toBe(true);
    const rest = target.view(1000 + EDU_MAX_TRANSFER, 3 * PAGE - 1000 - EDU_MAX_TRANSFER);
    expect(rest.every((byte) => byte === 0xee)).toBe(true);
  });

  test("gives memory addresses within the bits said at open, by each device of a space", async () => {
    using device = PciDevice.open(eduBdf(), { backend, addressBits: 28 });
    const edu = new Edu(device.io);
    using buffer = device.dma.alloc(PAGE);
    expect(buffer.iova).toBeLessThan(2n ** 28n);
    buffer.bytes.set(randomBytes(64));
    await edu.load(buffer.iova, 64);
    await edu.store(buffer.iova + 64n, 64);
    expect(Buffer.compare(buffer.view(64, 64), buffer.view(0, 64))).toBe(0);
    using _narrower = PciDevice.open(emptyBarBdf(), { dma: device.dma, addressBits: 24 });
    using low = device.dma.alloc(PAGE);
    expect(low.iova).toBeLessThan(2n ** 24n);
  });

  test("receives the interrupt at a DMA's end by MSI and by INTx", async () => {
    using device = open();
    const edu = new Edu(device.io);
    using buffer = device.dma.alloc(PAGE);
    for (const kind of ["msi", "intx"] as const) {
      using interrupts = device.enableInterrupts({ kind });
      const message = randomBytes(64);
      buffer.bytes.set(message);
      const loaded = nextSignal(interrupts, 0, () => edu.acknowledge(EDU_DMA_INTERRUPT));
      edu.startLoad(buffer.iova, message.length, 0, true);
      expect(await loaded, kind).toBe(1);
      expect(edu.busy).toBe(false);
      const stored = nextSignal(interrupts, 0, () => edu.acknowledge(EDU_DMA_INTERRUPT));
      edu.startStore(buffer.iova + 2048n, message.length, 0, true);
      expect(await stored, kind).toBe(1);
      expect(Buffer.from(buffer.view(2048, message.length).slice())).toEqual(message);
    }
  });

  test("uses the best kind of interrupt and all vectors by default", () => {
    using edu = open();
    using nvme = open(nvmeBdf());
    using testdev = open(emptyBarBdf());
    {
      using interrupts = edu.enableInterrupts({ count: 8 });
      expect(interrupts.kind).toBe("msi");
      expect(interrupts.vectors).toHaveLength(1);
      expect(() => interrupts.watch(1, () => {})).toThrow(ArgumentError);
      expect(() => interrupts.watch(-1, () => {})).toThrow(ArgumentError);
      // Already on: one way at a time.
      const before = holdings();
      expect(() => edu.enableInterrupts({ kind: "intx" })).toThrow();
      expect(holdings()).toEqual(before);
    }
    {
      using interrupts = nvme.enableInterrupts({ count: 1000 });
      expect(interrupts.kind).toBe("msix");
      expect(interrupts.vectors).toHaveLength(65);
    }
    const before = holdings();
    expect(() => edu.enableInterrupts({ kind: "msix" })).toThrow(
      new UnsupportedError(`VFIO device ${eduBdf()} has no msix`),
    );
    expect(() => nvme.enableInterrupts({ kind: "msi" })).toThrow(UnsupportedError);
    expect(() => testdev.enableInterrupts()).toThrow(
      new UnsupportedError(`VFIO device ${emptyBarBdf()} has no interrupts`),
    );
    for (const count of [0, -1, 0.5, Number.NaN, 2049]) {
      expect(() => edu.enableInterrupts({ count }), `${count}`).toThrow(ArgumentError);
    }
    expect(holdings()).toEqual(before);
  });

  test("delivers each vector to its own listener in the event loop", async () => {
    using device = open(nvmeBdf());
    const interrupts = device.enableInterrupts({ kind: "msix", count: 4 });
    const seen: number[] = [];
    for (const vector of [0, 1, 2])
      interrupts.watch(vector, (count) => seen.push(...Array(count).fill(vector)));
    const third = nextSignal(interrupts, 3);
    interrupts.trigger(2);
    interrupts.trigger(0);
    interrupts.trigger(0);
    interrupts.trigger(3);
    expect(await third).toBe(1);
    await expect.poll(() => seen.length).toBe(3);
    expect(seen.sort()).toEqual([0, 0, 2]);
    interrupts.close();
    expect(() => interrupts.trigger(0)).toThrow(ClosedError);
    expect(interrupts.vectors.every(({ closed }) => closed)).toBe(true);
    // Off, they can be had again.
    using again = device.enableInterrupts({ kind: "msix", count: 2 });
    const signal = nextSignal(again, 1);
    again.trigger(1);
    expect(await signal).toBe(1);
  });

  test("unmasks INTx after every listener", async () => {
    using device = open();
    const edu = new Edu(device.io);
    using interrupts = device.enableInterrupts({ kind: "intx" });
    for (const bit of [1, 2, 4]) {
      const signal = nextSignal(interrupts, 0, () => edu.acknowledge(bit));
      edu.raise(bit);
      expect(await signal).toBe(1);
      expect(edu.interruptStatus).toBe(0);
    }
  });

  test("can't reset edu", () => {
    using device = open();
    expect(() => device.reset()).toThrow(UnsupportedError);
    expect(device.bar(0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
  });

  test("has DMA to unmapped addresses stopped by the IOMMU, and memory unharmed", async () => {
    provoke("vtd_dmar_fault sid 0x10");
    using device = open();
    const edu = new Edu(device.io);
    using memory = MappedMemory.anonymous(PAGE);
    using good = device.dma.alloc(PAGE);
    good.bytes.fill(0x5a);
    await edu.load(good.iova, 1024);
    memory.bytes.fill(0xa5);

    // Never mapped, mapped for reading only, no longer mapped: by address the same memory each time.
    const former = device.dma.map(memory, { iova: 0x400000n });
    former.close();
    using readOnly = device.dma.map(memory, { access: "read", iova: 0x500000n });
    for (const at of [0x800000n, former.iova, readOnly.iova]) {
      await edu.store(at, 1024);
      expect(
        memory.bytes.every((byte) => byte === 0xa5),
        at.toString(16),
      ).toBe(true);
    }
    // What may only be written can't be read: the device keeps what it had, or gets nothing of ours.
    using writeOnly = device.dma.map(memory, { access: "write", iova: 0x600000n });
    const secret = memory.bytes.slice(0, 1024);
    for (const at of [former.iova, writeOnly.iova]) {
      await edu.load(at, 1024);
      await edu.store(good.iova, 1024);
      expect(good.view(0, 1024).slice(), at.toString(16)).not.toEqual(secret);
    }
    // All that was the device's doing; the right way still works.
    await edu.load(readOnly.iova, 1024);
    await edu.store(good.iova, 1024);
    expect(good.view(0, 1024).slice()).toEqual(secret);
    await edu.load(good.iova, 1024);
    await edu.store(writeOnly.iova + 2048n, 1024);
    expect(memory.bytes.slice(2048, 3072)).toEqual(secret);
  });

  test("stops DMA of a device that isn't bus master", async () => {
    using device = open();
    const edu = new Edu(device.io);
    using buffer = device.dma.alloc(PAGE);
    buffer.bytes.fill(0x11);
    await edu.load(buffer.iova, 512);
    buffer.bytes.fill(0x22);
    device.config.busMaster = false;
    await edu.store(buffer.iova, 512);
    expect(buffer.bytes.every((byte) => byte === 0x22)).toBe(true);
    device.config.busMaster = true;
    await edu.store(buffer.iova, 512);
    expect(buffer.view(0, 512).every((byte) => byte === 0x11)).toBe(true);
  });
});

describe("ConfigSpace, Bar, Interrupts and DmaSpace", () => {
  expectNothingLeft();

  test("work without PciDevice, on objects that a program opened", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(eduBdf());
    device.bind(iommufd);
    device.attach(ioas);
    using space = new DmaSpace(new IoasMapper(ioas));
    using interrupts = new Interrupts(device, { kind: "msi" });
    const edu = new Edu(device);
    using buffer = space.alloc(PAGE);
    const done = nextSignal(interrupts, 0, () => edu.acknowledge());
    edu.startLoad(buffer.iova, 16, 0, true);
    expect(await done).toBe(1);
    // Detached, nothing of it is reachable any more.
    provoke("vtd_dmar_fault sid 0x10");
    device.detach();
    buffer.bytes.fill(0x33);
    await edu.store(buffer.iova, 16);
    expect(buffer.bytes.every((byte) => byte === 0x33)).toBe(true);
    // The first of the backends that works, where none is asked for.
    device.close();
    using chosen = PciDevice.open(eduBdf().slice(5).toUpperCase());
    expect(chosen).toMatchObject({ backend: "iommufd", backendReason: "iommufd works and comes first" });
  });
});

describe("device.pageTables", () => {
  expectNothingLeft();

  test("lets an open device use page tables of the program's own, as docs/memory.md shows", async () => {
    using device = PciDevice.open(eduBdf(), { backend: "iommufd" });
    const { io, dma, pageTables } = device;
    expect(device.pageTables).toBe(pageTables);
    expect(pageTables.hwInfo().maxPasidLog2).toBe(0);
    device.config.busMaster = true;
    const edu = new Edu(io);
    const sent = randomBytes(64);
    using before = dma.alloc(PAGE);
    before.write(sent);
    using table = pageTables.alloc({ pasid: true });
    pageTables.attach(table);
    // What was mapped before and after it was made.
    using after = dma.alloc(PAGE);
    await edu.load(before.iova, 64);
    await edu.store(after.iova, 64);
    expect(Buffer.from(after.view(0, 64).slice())).toEqual(sent);
    // The kernel keeps a table for a PASID, though edu sends none.
    using space = pageTables.allocSpace();
    using second = pageTables.alloc({ space, pasid: true });
    pageTables.attach(second, { pasid: 5 });
    using other = space.alloc(PAGE);
    // The device's own DMA goes through the other space.
    pageTables.detach({ pasid: 5 });
    pageTables.attach(space);
    await edu.store(other.iova, 64);
    expect(Buffer.from(other.view(0, 64).slice())).toEqual(sent);
    pageTables.attach(dma);
    after.bytes.fill(0);
    await edu.store(after.iova, 64);
    expect(Buffer.from(after.view(0, 64).slice())).toEqual(sent);
  });

  test("tells what this IOMMU lacks, and leaves the device where it was", async () => {
    using device = PciDevice.open(eduBdf(), { backend: "iommufd" });
    const { io, dma, pageTables } = device;
    expect(() => pageTables.alloc({ nestParent: true })).toThrow(sysError("IOMMU_HWPT_ALLOC", "EOPNOTSUPP"));
    using faultQueue = pageTables.allocFaultQueue();
    using faulting = pageTables.alloc({ faultQueue });
    expect(() => pageTables.attach(faulting)).toThrow(sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "ENODEV"));
    device.config.busMaster = true;
    using buffer = dma.alloc(PAGE);
    const edu = new Edu(io);
    await edu.load(buffer.iova, 64);
  });

  test("closing a space of its own in use blocks the device's DMA", async () => {
    using device = PciDevice.open(eduBdf(), { backend: "iommufd" });
    const { io, dma, pageTables } = device;
    device.config.busMaster = true;
    const edu = new Edu(io);
    const space = pageTables.allocSpace();
    pageTables.attach(space);
    const { iova } = space.alloc(PAGE);
    await edu.store(iova, 16);
    space.close();
    provoke("vtd_dmar_fault sid 0x10");
    await edu.store(iova, 16);
    pageTables.attach(dma);
    using buffer = dma.alloc(PAGE);
    await edu.load(buffer.iova, 16);
  });

  test("is iommufd's alone", () => {
    using device = PciDevice.open(eduBdf(), { backend: "type1" });
    expect(() => device.pageTables).toThrow(UnsupportedError);
    expect(() => device.pageTables).toThrow("open it through iommufd");
    device.close();
    expect(() => device.pageTables).toThrow(ClosedError);
  });
});
