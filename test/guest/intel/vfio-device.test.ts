/** States of a VFIO device that is opened by its character device, closing, and reset. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { VfioDevice } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  ClosedError,
  ConfigSpace,
  MappedMemory,
  PciDevice,
  StateError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { VFIO_PCI_MSI_IRQ_INDEX } from "../../../src/vfio/uapi.js";
import { caught } from "../../support/caught.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;

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
      await expect.poll(() => registers.read32(CSTS) & READY, { timeout: 600_000 }).toBe(READY);
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
