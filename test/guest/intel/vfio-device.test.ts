import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { type DeviceIo, EventFd, VfioDevice } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  ClosedError,
  ConfigSpace,
  MappedMemory,
  PciDevice,
  readPciFunction,
  StateError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import {
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
  VFIO_PCI_ROM_REGION_INDEX,
  VFIO_PCI_VGA_REGION_INDEX,
} from "../../../src/vfio/uapi.js";
import { caught } from "../../support/caught.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf, pairNicBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;
/** pci-testdev's registers, once in memory and once in I/O space. */
const TESTDEV_MEMORY_BAR = 0;
const TESTDEV_IO_BAR = 1;
const TESTDEV_EMPTY_BAR = 2;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

/** Every call of a device but bind. */
const uses: Readonly<Record<string, (device: VfioDevice) => unknown>> = {
  deviceId: (device) => device.deviceId,
  detach: (device) => device.detach(),
  info: (device) => device.info(),
  regionInfo: (device) => device.regionInfo(0),
  readRegion: (device) => device.readRegion(0, 0, new Uint8Array(4)),
  writeRegion: (device) => device.writeRegion(0, EduRegister.liveness, new Uint8Array(4)),
  mapRegion: (device) => device.mapRegion(0, 0, PAGE),
  irqInfo: (device) => device.irqInfo(0),
  setIrqEventfds: (device) => device.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, [-1]),
  disableIrq: (device) => device.disableIrq(VFIO_PCI_MSI_IRQ_INDEX),
  actOnIrq: (device) => device.actOnIrq(VFIO_PCI_MSI_IRQ_INDEX, "trigger", 0, 1),
  reset: (device) => device.reset(),
};

function openEdu(iommufd: Iommufd): VfioDevice {
  const device = VfioDevice.openCdev(eduBdf());
  device.bind(iommufd);
  return device;
}

describe("a device opened by its character device", () => {
  expectNothingLeft();

  test("can only be bound at first", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(eduBdf());
    expect(device.openedThrough).toBe("cdev");
    for (const [name, use] of Object.entries(uses)) {
      expect(() => use(device), name).toThrow(StateError);
    }
    expect(() => device.attach(ioas)).toThrow(
      new StateError(`VFIO device ${eduBdf()} is not bound to an iommufd`),
    );
  });

  test("has an id and can be used once it is bound, and can't be bound again", () => {
    using iommufd = Iommufd.open();
    using other = Iommufd.open();
    using device = openEdu(iommufd);
    expect(device.deviceId).toBeGreaterThan(0);
    expect(device.info()).toMatchObject({ isPci: true, resettable: false, numIrqs: 5 });
    for (const target of [iommufd, other]) {
      expect(() => device.bind(target)).toThrow(new StateError(`VFIO device ${eduBdf()} is bound already`));
    }
    // A second opening of the same device is refused by the kernel.
    using second = VfioDevice.openCdev(eduBdf());
    expect(() => second.bind(other)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EINVAL"));
    expect(() => second.info()).toThrow(StateError);
    device.close();
    // The refusal was no end.
    second.bind(other);
    expect(second.info().isPci).toBe(true);
  });

  test("can be attached, detached any number of times, and attached again", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = openEdu(iommufd);
    device.detach();
    const hwpt = device.attach(ioas);
    expect([ioas.id, device.deviceId]).not.toContain(hwpt);
    expect(ioas.iovaRanges().alignmentBytes).toBe(PAGE);
    device.detach();
    device.detach();
    expect(ioas.iovaRanges().alignmentBytes).toBe(1);
    device.attach(ioas);
    expect(ioas.iovaRanges().alignmentBytes).toBe(PAGE);
  });

  test("can't be attached to an address space of another iommufd", () => {
    using iommufd = Iommufd.open();
    using other = Iommufd.open();
    using foreign = other.allocIoas();
    using device = openEdu(iommufd);
    expect(() => device.attach(foreign)).toThrow(ArgumentError);
    expect(foreign.iovaRanges().alignmentBytes).toBe(1);
    foreign.close();
    expect(() => device.attach(foreign)).toThrow(ClosedError);
    other.close();
    using unbound = VfioDevice.openCdev(eduBdf());
    expect(() => unbound.bind(other)).toThrow(ClosedError);
  });

  test("moves from one address space to another without a gap; the first can then be closed", async () => {
    using iommufd = Iommufd.open();
    using first = iommufd.allocIoas();
    using second = iommufd.allocIoas();
    using device = openEdu(iommufd);
    using inFirst = MappedMemory.anonymous(PAGE);
    using inSecond = MappedMemory.anonymous(PAGE);
    first.map(inFirst, { iova: 0x40000n });
    second.map(inSecond, { iova: 0x40000n });
    inFirst.bytes.fill(0x11);
    inSecond.bytes.fill(0x22);
    const edu = new Edu(device);
    device.attach(first);
    await edu.load(0x40000n, 256);
    device.attach(second);
    first.close();
    expect(device.closed).toBe(false);
    await edu.store(0x40000n + 256n, 256);
    expect(inSecond.bytes.slice(255, 513)).toEqual(
      Uint8Array.from({ length: 258 }, (_, i) => (i === 0 || i === 257 ? 0x22 : 0x11)),
    );
    expect(inFirst.bytes.every((byte) => byte === 0x11)).toBe(true);
    // Closing the second one now detaches: the tie has moved along.
    second.close();
    using third = iommufd.allocIoas();
    device.attach(third);
    expect(third.iovaRanges().alignmentBytes).toBe(PAGE);
  });

  test("stays in its address space if the move to another one is refused", async () => {
    using iommufd = Iommufd.open();
    using first = iommufd.allocIoas();
    using second = iommufd.allocIoas();
    using device = openEdu(iommufd);
    using memory = MappedMemory.anonymous(PAGE);
    first.map(memory, { iova: 0x40000n });
    device.attach(first);
    // Below vm.mmap_min_addr there is nothing that could be pinned.
    second.map({ address: 0x8000, sizeBytes: PAGE });
    expect(() => device.attach(second)).toThrow(sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EFAULT"));
    expect(second.iovaRanges().alignmentBytes).toBe(1);
    const edu = new Edu(device);
    memory.bytes.fill(0x6b);
    await edu.load(0x40000n, 32);
    await edu.store(0x40000n + 2048n, 32);
    expect(memory.bytes.every((byte) => byte === 0x6b)).toBe(true);
    first.close();
    second.unmapAll();
    device.attach(second);
    expect(second.iovaRanges().alignmentBytes).toBe(PAGE);
  });

  test("shares its address space with other devices, and leaves without changing it", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = openEdu(iommufd);
    using other = VfioDevice.openCdev(emptyBarBdf());
    other.bind(iommufd);
    expect(other.deviceId).not.toBe(device.deviceId);
    // One translation for both.
    expect(other.attach(ioas)).toBe(device.attach(ioas));
    using memory = MappedMemory.anonymous(PAGE);
    ioas.map(memory, { iova: 0x40000n });
    other.close();
    const edu = new Edu(device);
    memory.bytes.fill(0x6b, 0, 32);
    await edu.load(0x40000n, 32);
    await edu.store(0x40000n + 2048n, 32);
    expect(memory.bytes.slice(2048, 2080)).toEqual(new Uint8Array(32).fill(0x6b));
    device.close();
    expect(ioas.iovaRanges().alignmentBytes).toBe(1);
  });

  test("throws a ClosedError on every use after close()", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    const device = openEdu(iommufd);
    device.attach(ioas);
    const region = device.mapRegion(0, 0, PAGE);
    device.close();
    device.close();
    for (const [name, use] of Object.entries(uses)) {
      expect(() => use(device), name).toThrow(ClosedError);
    }
    expect(() => device.bind(iommufd)).toThrow(ClosedError);
    expect(() => device.attach(ioas)).toThrow(ClosedError);
    expect(() => region.words).toThrow(ClosedError);
    // Both stay what they were.
    expect(ioas.iovaRanges().alignmentBytes).toBe(1);
    expect(iommufd.closed).toBe(false);
  });
});

describe.each(backendNames)("regions through %s", (backend) => {
  const opened: PciDevice[] = [];
  let edu: DeviceIo;
  let nvme: DeviceIo;
  let testdev: DeviceIo;
  beforeAll(() => {
    const open = (bdf: string): DeviceIo => {
      const device = PciDevice.open(bdf, { backend });
      opened.push(device);
      return device.io;
    };
    edu = open(eduBdf());
    nvme = open(nvmeBdf());
    testdev = open(emptyBarBdf());
  });
  afterAll(() => {
    for (const device of opened) device.close();
  });
  expectNothingLeft();

  test("have the sizes that sysfs reports", () => {
    for (const { io, bdf } of [
      { io: edu, bdf: eduBdf() },
      { io: nvme, bdf: nvmeBdf() },
      { io: testdev, bdf: emptyBarBdf() },
    ]) {
      const sizes = new Map(readPciFunction(bdf).bars.map(({ index, sizeBytes }) => [index, sizeBytes]));
      expect(sizes.size).toBeGreaterThan(0);
      expect(io.info().numRegions).toBeGreaterThanOrEqual(9);
      for (let index = 0; index < 6; index++) {
        const region = io.regionInfo(index);
        expect(region.sizeBytes, `${bdf} BAR ${index}`).toBe(sizes.get(index) ?? 0);
        expect(region.readable && region.writable).toBe(sizes.has(index));
      }
      const config = io.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX);
      expect(config).toMatchObject({ readable: true, writable: true, mappable: [], type: undefined });
      expect([256, 4096]).toContain(config.sizeBytes);
    }
  });

  test("report what can be mapped, and whether the MSI-X table can", () => {
    const whole = (io: DeviceIo, index: number): unknown => [
      { offset: 0, sizeBytes: io.regionInfo(index).sizeBytes },
    ];
    expect(edu.regionInfo(0)).toMatchObject({ mappable: whole(edu, 0), msixMappable: false });
    // This controller has its table behind the registers.
    expect(nvme.regionInfo(0)).toMatchObject({ mappable: whole(nvme, 0), msixMappable: true });
    expect(testdev.regionInfo(TESTDEV_IO_BAR)).toMatchObject({ mappable: [], readable: true });
    // A BAR that isn't there.
    expect(edu.regionInfo(1)).toMatchObject({ sizeBytes: 0, mappable: [], readable: false });
  });

  test("include the configuration space as sysfs has it", () => {
    for (const { io, bdf } of [
      { io: edu, bdf: eduBdf() },
      { io: nvme, bdf: nvmeBdf() },
    ]) {
      const ids = new Uint8Array(4);
      io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 0, ids);
      const { vendorId, deviceId } = readPciFunction(bdf);
      expect(ids).toEqual(Uint8Array.of(vendorId & 0xff, vendorId >> 8, deviceId & 0xff, deviceId >> 8));
      // More than one access wide: classes and revision, as sysfs' own file has them.
      const header = new Uint8Array(64);
      io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 0, header);
      const raw = readFileSync(`/sys/bus/pci/devices/${bdf}/config`);
      expect(header.subarray(8, 12)).toEqual(new Uint8Array(raw.subarray(8, 12)));
      expect(header.subarray(44, 48)).toEqual(new Uint8Array(raw.subarray(44, 48)));
    }
  });

  test("have the same content through a mapping and through the descriptor", () => {
    using registers = nvme.mapRegion(0, 0, PAGE);
    const capabilities = new Uint8Array(8);
    nvme.readRegion(0, 0, capabilities);
    expect(registers.bytes.slice(0, 8).some((byte) => byte !== 0)).toBe(true);
    expect(new Uint32Array(capabilities.buffer)).toEqual(
      Uint32Array.of(Atomics.load(registers.words, 0), Atomics.load(registers.words, 1)),
    );
    using eduRegisters = edu.mapRegion(0, 0, edu.regionInfo(0).sizeBytes);
    expect(Atomics.load(eduRegisters.words, 0)).toBe(EDU_IDENTIFICATION);
    // Written here, read there.
    eduRegisters.words[EduRegister.liveness / 4] = 0x12345678;
    const inverted = new Uint8Array(4);
    edu.readRegion(0, EduRegister.liveness, inverted);
    expect(new Uint32Array(inverted.buffer)[0]).toBe(~0x12345678 >>> 0);
    edu.writeRegion(0, EduRegister.liveness, Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(Atomics.load(eduRegisters.words, EduRegister.liveness / 4)).toBe(0);
    using nothing = testdev.mapRegion(TESTDEV_EMPTY_BAR, PAGE, PAGE);
    expect(Atomics.load(nothing.words, 0)).toBe(0);
  });

  test("are reached through the descriptor if they are in I/O space", () => {
    // Writing a test's number here selects it; its name then stands behind the header.
    const names = (bar: number): string[] =>
      [0, 1, 2].map((number) => {
        testdev.writeRegion(bar, 0, Uint8Array.of(number));
        const name = new Uint8Array(32);
        testdev.readRegion(bar, 16, name);
        return Buffer.from(name).toString("latin1").replace(/\0.*$/s, "");
      });
    expect(names(TESTDEV_IO_BAR)).toEqual([
      "portio-no-eventfd",
      "portio-wildcard-eventfd",
      "portio-datamatch-eventfd",
    ]);
    expect(names(TESTDEV_MEMORY_BAR)[0]).toBe("mmio-no-eventfd");
  });

  test("can't be accessed beyond their end", () => {
    const { sizeBytes } = edu.regionInfo(0);
    const bytes = new Uint8Array(8);
    for (const [offset, length] of [
      [sizeBytes, 4],
      [sizeBytes - 4, 8],
      [-4, 4],
      [0.5, 4],
      [Number.NaN, 4],
      [0, 0],
    ] as const) {
      const part = bytes.subarray(0, length);
      expect(() => edu.readRegion(0, offset, part), `${offset}`).toThrow(ArgumentError);
      expect(() => edu.writeRegion(0, offset, part), `${offset}`).toThrow(ArgumentError);
    }
    expect(() => edu.mapRegion(0, 0, sizeBytes + 1)).toThrow(ArgumentError);
    expect(() => edu.mapRegion(0, sizeBytes, PAGE)).toThrow(ArgumentError);
    expect(() => edu.mapRegion(0, 512, PAGE)).toThrow(ArgumentError);
    // Not there at all.
    expect(() => edu.readRegion(1, 0, bytes)).toThrow(ArgumentError);
    for (const index of [VFIO_PCI_VGA_REGION_INDEX, 99, -1, 0.5]) {
      expect(() => edu.regionInfo(index), `${index}`).toThrow(ArgumentError);
    }
  });

  test("are refused to be mapped if the kernel doesn't allow it", () => {
    const before = holdings();
    for (const [io, index] of [
      [edu, VFIO_PCI_CONFIG_REGION_INDEX],
      [testdev, TESTDEV_IO_BAR],
    ] as const) {
      const { sizeBytes } = io.regionInfo(index);
      expect(() => io.mapRegion(index, 0, sizeBytes)).toThrow(UnsupportedError);
    }
    expect(holdings()).toEqual(before);
  });

  test("read zero through an old view after they are unmapped", () => {
    const region = edu.mapRegion(0, 0, PAGE);
    const { words } = region;
    expect(words[0]).toBe(EDU_IDENTIFICATION);
    region.close();
    expect(words[0]).toBe(0);
    words[EduRegister.liveness / 4] = 0x0f0f0f0f;
    const inverted = new Uint8Array(4);
    edu.readRegion(0, EduRegister.liveness, inverted);
    expect(new Uint32Array(inverted.buffer)[0]).not.toBe(~0x0f0f0f0f >>> 0);
  });

  test("report an error through the descriptor while memory decoding is off", () => {
    const command = new Uint8Array(2);
    testdev.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 4, command);
    // Below ConfigSpace, which refuses this for the sake of mapped registers.
    const off = Uint8Array.of((command[0] ?? 0) & ~2, command[1] ?? 0);
    testdev.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, 4, off);
    try {
      const object = `VFIO device ${emptyBarBdf()} region ${TESTDEV_MEMORY_BAR}`;
      const bytes = new Uint8Array(4);
      expect(() => testdev.readRegion(TESTDEV_MEMORY_BAR, 0, bytes)).toThrow(
        sysError("pread", "EIO", { object }),
      );
      expect(() => testdev.writeRegion(TESTDEV_MEMORY_BAR, 0, bytes)).toThrow(
        sysError("pwrite", "EIO", { object }),
      );
    } finally {
      testdev.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, 4, command);
    }
    testdev.readRegion(TESTDEV_MEMORY_BAR, 0, new Uint8Array(4));
  });
});

describe.each(backendNames)("the expansion ROM of a network card through %s", (backend) => {
  expectNothingLeft();

  test("is a read-only region with the card's image", () => {
    using _binding = bindToVfio(pairNicBdf());
    using nic = PciDevice.open(pairNicBdf(), { backend });
    const { io } = nic;
    const region = io.regionInfo(VFIO_PCI_ROM_REGION_INDEX);
    const [, , , , , , romLine = ""] = readFileSync(
      `/sys/bus/pci/devices/${pairNicBdf()}/resource`,
      "utf8",
    ).split("\n");
    const [start = 0, last = 0] = romLine.split(" ").map(Number);
    expect(region).toMatchObject({
      sizeBytes: last - start + 1,
      readable: true,
      writable: false,
      mappable: [],
    });
    const image = Buffer.alloc(region.sizeBytes);
    io.readRegion(VFIO_PCI_ROM_REGION_INDEX, 0, image);
    // PCI Firmware Specification: signature AA55h, and at 18h where the data structure is, with the card's ids.
    expect(image.readUInt16LE(0)).toBe(0xaa55);
    const data = image.subarray(image.readUInt16LE(0x18));
    const { vendorId, deviceId } = readPciFunction(pairNicBdf());
    expect([data.toString("latin1", 0, 4), data.readUInt16LE(4), data.readUInt16LE(6)]).toEqual([
      "PCIR",
      vendorId,
      deviceId,
    ]);
  });
});

describe.each(backendNames)("a device closed through %s", (backend) => {
  expectNothingLeft();

  test("removes its registers from every view", () => {
    const device = PciDevice.open(eduBdf(), { backend });
    const region = device.io.mapRegion(0, 0, PAGE);
    const { words } = region;
    expect(words[0]).toBe(EDU_IDENTIFICATION);
    expect(holdings().regions).toBeGreaterThan(0);
    device.close();
    expect(region.closed).toBe(true);
    expect(words[0]).toBe(0);
    expect(holdings().regions).toBe(0);
  });
});

describe.each(backendNames)("interrupts through %s", (backend) => {
  const opened: PciDevice[] = [];
  let edu: DeviceIo;
  let device: Edu;
  let nvme: DeviceIo;
  let testdev: DeviceIo;
  beforeAll(() => {
    const open = (bdf: string): DeviceIo => {
      const device = PciDevice.open(bdf, { backend });
      opened.push(device);
      return device.io;
    };
    edu = open(eduBdf());
    device = new Edu(edu);
    // The first look at a register maps them all.
    expect(device.interruptStatus).toBe(0);
    nvme = open(nvmeBdf());
    testdev = open(emptyBarBdf());
  });
  afterAll(() => {
    for (const device of opened) device.close();
  });
  expectNothingLeft();

  function eventfds(count: number): { fds: EventFd[]; numbers: number[] } & Disposable {
    const fds = Array.from({ length: count }, () => new EventFd());
    return {
      fds,
      numbers: fds.map(({ fd }) => fd),
      [Symbol.dispose]: () => {
        for (const fd of fds) fd.close();
      },
    };
  }
  /** What was signalled since the last look, per eventfd. */
  const taken = (fds: readonly EventFd[]): number[] => fds.map((fd) => fd.take());

  test("are described as the device reports them", () => {
    const signalled = { eventfd: true };
    expect(nvme.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX)).toMatchObject({ count: 65, maskable: false, ...signalled });
    expect(nvme.irqInfo(VFIO_PCI_MSI_IRQ_INDEX).count).toBe(0);
    const intx = { count: 1, maskable: true, automasked: true, ...signalled };
    expect(nvme.irqInfo(VFIO_PCI_INTX_IRQ_INDEX)).toMatchObject(intx);
    expect(edu.irqInfo(VFIO_PCI_INTX_IRQ_INDEX)).toMatchObject(intx);
    expect(edu.irqInfo(VFIO_PCI_MSI_IRQ_INDEX)).toMatchObject({ count: 1, automasked: false, ...signalled });
    expect(edu.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX).count).toBe(0);
    for (const index of [VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX]) {
      expect(edu.irqInfo(index).count).toBe(1);
    }
    for (const index of [VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX]) {
      expect(testdev.irqInfo(index).count).toBe(0);
    }
    for (const index of [5, 99, -1]) expect(() => edu.irqInfo(index), `${index}`).toThrow(ArgumentError);
  });

  test("signal their vector's eventfd each time, by MSI-X", () => {
    using vectors = eventfds(5);
    const { fds, numbers } = vectors;
    nvme.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 0, numbers);
    try {
      expect(taken(fds)).toEqual([0, 0, 0, 0, 0]);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 3, 1);
      expect(taken(fds)).toEqual([0, 0, 0, 1, 0]);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 1);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 1);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 1, 3);
      expect(taken(fds)).toEqual([2, 1, 1, 1, 0]);
      // Without its eventfd a vector is mute; the others are not.
      nvme.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 2, [-1]);
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 0, 5);
      expect(taken(fds)).toEqual([1, 1, 0, 1, 1]);
      nvme.setIrqEventfds(VFIO_PCI_MSIX_IRQ_INDEX, 2, numbers.slice(0, 1));
      nvme.actOnIrq(VFIO_PCI_MSIX_IRQ_INDEX, "trigger", 2, 1);
      expect(taken(fds)).toEqual([1, 0, 0, 0, 0]);
    } finally {
      nvme.disableIrq(VFIO_PCI_MSIX_IRQ_INDEX);
    }
  });

  test("can be switched off and on again", () => {
    for (const [io, index] of [
      [nvme, VFIO_PCI_MSIX_IRQ_INDEX],
      [edu, VFIO_PCI_MSI_IRQ_INDEX],
      [edu, VFIO_PCI_INTX_IRQ_INDEX],
    ] as const) {
      using vectors = eventfds(1);
      for (let round = 0; round < 2; round++) {
        io.setIrqEventfds(index, 0, vectors.numbers);
        io.actOnIrq(index, "trigger", 0, 1);
        expect(taken(vectors.fds)).toEqual([1]);
        io.disableIrq(index);
        if (index !== VFIO_PCI_INTX_IRQ_INDEX) {
          expect(() => io.disableIrq(index)).toThrow(sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"));
        }
        expect(() => io.actOnIrq(index, "trigger", 0, 1)).toThrow(sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"));
        expect(taken(vectors.fds)).toEqual([0]);
      }
    }
  });

  test("are delivered in one way at a time", () => {
    using vectors = eventfds(1);
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers);
    expect(() => edu.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, vectors.numbers)).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"),
    );
    edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
    edu.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, vectors.numbers);
    expect(() => edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers)).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EINVAL"),
    );
    edu.disableIrq(VFIO_PCI_INTX_IRQ_INDEX);
  });

  test("are refused if the device has fewer vectors, or none", () => {
    using vectors = eventfds(2);
    const { numbers } = vectors;
    for (const [io, index, start, fds] of [
      [edu, VFIO_PCI_MSI_IRQ_INDEX, 0, numbers],
      [edu, VFIO_PCI_MSI_IRQ_INDEX, 1, numbers.slice(1)],
      [edu, VFIO_PCI_MSIX_IRQ_INDEX, 0, numbers],
      [testdev, VFIO_PCI_INTX_IRQ_INDEX, 0, numbers],
      [nvme, VFIO_PCI_MSIX_IRQ_INDEX, 64, numbers],
    ] as const) {
      const label = `${io.lease.label} ${index} from ${start}`;
      expect(() => io.setIrqEventfds(index, start, fds), label).toThrow(
        sysError("VFIO_DEVICE_SET_IRQS", "EINVAL", {
          object: `${io.lease.label} interrupt index ${index}`,
        }),
      );
    }
    for (const [index, start] of [
      [-1, 0],
      [0.5, 0],
      [VFIO_PCI_MSI_IRQ_INDEX, -1],
    ] as const) {
      expect(() => edu.setIrqEventfds(index, start, [-1])).toThrow(ArgumentError);
      expect(() => edu.actOnIrq(index, "trigger", start, 1)).toThrow(ArgumentError);
    }
    // A descriptor that is none, and nothing has been switched on.
    expect(() => edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, [100_000])).toThrow(
      sysError("VFIO_DEVICE_SET_IRQS", "EBADF"),
    );
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, numbers.slice(0, 1));
    edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
  });

  test("are never masked by the kernel as messages", () => {
    using vectors = eventfds(1);
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers);
    try {
      for (const action of ["mask", "unmask"] as const) {
        expect(() => edu.actOnIrq(VFIO_PCI_MSI_IRQ_INDEX, action, 0, 1)).toThrow(
          sysError("VFIO_DEVICE_SET_IRQS", "ENOTTY"),
        );
      }
    } finally {
      edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
    }
  });

  test("arrive from edu by MSI", () => {
    using vectors = eventfds(1);
    const [fd] = vectors.fds;
    edu.setIrqEventfds(VFIO_PCI_MSI_IRQ_INDEX, 0, vectors.numbers);
    try {
      for (const bit of [1, 2, 4]) {
        device.raise(bit);
        expect(fd?.waitSync(10_000)).toBe(1);
        expect(device.interruptStatus).toBe(bit);
        device.acknowledge(bit);
        expect(device.interruptStatus).toBe(0);
      }
    } finally {
      edu.disableIrq(VFIO_PCI_MSI_IRQ_INDEX);
    }
  });

  test("arrive from edu by INTx once, until they are unmasked", () => {
    using vectors = eventfds(1);
    const [fd] = vectors.fds;
    const unmask = (): void => edu.actOnIrq(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, 1);
    edu.setIrqEventfds(VFIO_PCI_INTX_IRQ_INDEX, 0, vectors.numbers);
    try {
      device.raise(1);
      expect(fd?.waitSync(10_000)).toBe(1);
      // The device holds the line still, and nothing comes through: without the mask it would storm.
      expect(fd?.take()).toBe(0);
      unmask();
      expect(fd?.waitSync(10_000)).toBe(1);
      device.acknowledge();
      unmask();
      device.raise(2);
      expect(fd?.waitSync(10_000)).toBe(1);
      device.acknowledge();
      unmask();
      // Masked by hand, an interrupt waits.
      edu.actOnIrq(VFIO_PCI_INTX_IRQ_INDEX, "mask", 0, 1);
      device.raise(4);
      expect(device.interruptStatus).toBe(4);
      expect(fd?.take()).toBe(0);
      unmask();
      expect(fd?.waitSync(10_000)).toBe(1);
      device.acknowledge();
    } finally {
      edu.disableIrq(VFIO_PCI_INTX_IRQ_INDEX);
    }
  });
});

describe.each(backendNames)("reset through %s", (backend) => {
  expectNothingLeft();

  test("is refused for edu", async () => {
    using device = PciDevice.open(eduBdf(), { backend });
    expect(device.io.info().resettable).toBe(false);
    expect(() => device.io.reset()).toThrow(
      new UnsupportedError(`VFIO device ${eduBdf()} has no function reset`),
    );
    expect(await caught(device.resetAsync())).toBeInstanceOf(UnsupportedError);
  });

  test.each(["reset", "resetAsync"] as const)(
    "by %s() returns an NVMe controller to its initial state, and keeps the mapping",
    async (how) => {
      const [CC, CSTS, AQA, ASQ, ACQ] = [0x14, 0x1c, 0x24, 0x28, 0x30];
      const READY = 1;
      using device = PciDevice.open(nvmeBdf(), { backend });
      const { io } = device;
      expect(io.info().resettable).toBe(true);
      const config = new ConfigSpace(io);
      const command = config.read16(4);
      const registers = device.bar(0);
      using queues = device.dma.alloc(2 * PAGE);
      // Two admin queues of two entries; enabling does not look into them yet.
      registers.write32(AQA, 0x0001_0001);
      registers.write64(ASQ, queues.iova);
      registers.write64(ACQ, queues.iova + BigInt(PAGE));
      registers.write32(CC, 0x0046_0001);
      await expect.poll(() => registers.read32(CSTS) & READY, { timeout: 30_000 }).toBe(READY);
      const reset = device[how]();
      if (how === "resetAsync") expect(() => device.close()).toThrow("a reset under way");
      await reset;
      expect(registers.read32(CSTS) & READY).toBe(0);
      const status = new Uint8Array(4);
      io.readRegion(0, CSTS, status);
      expect((status[0] ?? 0) & READY).toBe(0);
      // The kernel has put the configuration space back.
      expect(config.read16(4)).toBe(command);
    },
  );
});
