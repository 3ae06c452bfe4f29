/** Devices without an IOMMU in programs (vfio.enable_unsafe_noiommu_mode): by group and by character device. */
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { groupOf, VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import {
  Bar,
  BusyError,
  bindToVfio,
  ConfigSpace,
  Interrupts,
  MappedMemory,
  PciDevice,
  PciRegister,
  StateError,
  UnsupportedError,
  unbindFromVfio,
  type VfioBinding,
} from "../../../src/index.js";
import { VFIO_NOIOMMU_IOMMU, VFIO_TYPE1v2_IOMMU } from "../../../src/vfio-legacy/uapi.js";
import { EDU_IDENTIFICATION, Edu, EduRegister } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { physicalAddress } from "../../support/pagemap.js";
import { pciDeviceSuite } from "../../support/pci-device-suite.js";
import { nextSignal } from "../../support/signal.js";
import { asUnprivileged } from "../../support/unprivileged.js";
import { noiommuWays, openNoiommu } from "../../support/vfio-modes.js";

const PAGE = 4096;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

/** The device moves memory by its physical address: nobody checks, nobody translates. */
async function expectDma(device: VfioDevice, memory: MappedMemory, physical: bigint): Promise<void> {
  const edu = new Edu(device);
  memory.bytes.fill(0x5a, 0, 1024);
  memory.bytes.fill(0, 1024, 2048);
  await edu.load(physical, 1024);
  await edu.store(physical + 1024n, 1024);
  expect(memory.bytes.subarray(0, 2048).every((byte) => byte === 0x5a)).toBe(true);
  expect(memory.bytes.subarray(2048).every((byte) => byte === 0)).toBe(true);
}

describe("a no-IOMMU device opened through its group", () => {
  expectNothingLeft();

  function openGroup(bdf: string) {
    const container = VfioContainer.open();
    const group = VfioGroup.openFor(bdf);
    group.setContainer(container);
    const close = (): void => {
      container.close();
      group.close();
    };
    return { container, group, [Symbol.dispose]: close };
  }

  test("has a group whose name warns, and a container of its own type", () => {
    expect(existsSync(`/dev/vfio/noiommu-${groupOf(eduBdf())}`)).toBe(true);
    using opened = openGroup(eduBdf());
    const { container, group } = opened;
    expect(readlinkSync(`/proc/self/fd/${group.fd}`)).toBe(`/dev/vfio/noiommu-${groupOf(eduBdf())}`);
    expect(group.status()).toEqual({ viable: true, containerSet: true });
    expect(container.checkExtension(VFIO_NOIOMMU_IOMMU)).toBe(true);
    expect(container.checkExtension(VFIO_TYPE1v2_IOMMU)).toBe(false);
    expect(() => container.setIommu("type1v2")).toThrow(sysError("VFIO_SET_IOMMU", "ENODEV"));
    asUnprivileged({}, () => {
      expect(() => container.setIommu("noiommu")).toThrow(sysError("VFIO_SET_IOMMU", "EPERM"));
    });
    container.setIommu("noiommu");
    expect(container.iommuType).toBe("noiommu");
  });

  test("has registers and interrupts", async () => {
    using opened = openGroup(eduBdf());
    opened.container.setIommu("noiommu");
    using device = opened.group.openDevice(eduBdf());
    expect(device.info().isPci).toBe(true);
    const edu = new Edu(device);
    expect(edu.registers.read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
    using interrupts = new Interrupts(device, { kind: "msi" });
    const signal = nextSignal(interrupts, 0);
    edu.raise(1);
    expect(await signal).toBe(1);
    edu.acknowledge();
  });

  test("can't map memory, which is found by its physical address", async () => {
    using opened = openGroup(eduBdf());
    opened.container.setIommu("noiommu");
    using device = opened.group.openDevice(eduBdf());
    using memory = MappedMemory.anonymous(PAGE, { lock: true, populate: true });
    expect(() => opened.container.map(memory, 0n, "read-write")).toThrow(
      sysError("VFIO_IOMMU_MAP_DMA", "ENOTTY"),
    );
    expect(() => opened.container.info()).toThrow(sysError("VFIO_IOMMU_GET_INFO", "ENOTTY"));
    await expectDma(device, memory, physicalAddress(memory.address));
  });

  test("can share a container with other devices", () => {
    using opened = openGroup(eduBdf());
    opened.container.setIommu("noiommu");
    using group = VfioGroup.openFor(nvmeBdf());
    group.setContainer(opened.container);
    using edu = opened.group.openDevice(eduBdf());
    using nvme = group.openDevice(nvmeBdf());
    expect(new ConfigSpace(nvme).read32(PciRegister.vendorId)).toBe(0x0010_1b36);
    expect(new ConfigSpace(edu).read32(PciRegister.vendorId)).toBe(0x11e8_1234);
    nvme.reset();
    expect(new Bar(nvme, 0).read32(0)).not.toBe(0);
  });

  test("can't be unbound while its group is open: the kernel would wait without limit", () => {
    using opened = openGroup(eduBdf());
    opened.container.setIommu("noiommu");
    using _device = opened.group.openDevice(eduBdf());
    expect(() => unbindFromVfio(eduBdf())).toThrow(BusyError);
    expect(() => unbindFromVfio(eduBdf())).toThrow(`open in process ${process.pid}`);
  });

  test("excludes its character device while its group is open, and the other way round", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(eduBdf());
    {
      using opened = openGroup(eduBdf());
      expect(opened.group.status().viable).toBe(true);
      expect(() => device.bind(iommufd)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EBUSY"));
    }
    device.bind(iommufd);
    expect(() => VfioGroup.openFor(eduBdf())).toThrow(sysError("open", "EBUSY"));
  });
});

describe("a no-IOMMU device opened by its character device", () => {
  expectNothingLeft();

  function openCdev(bdf: string) {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const device = VfioDevice.openCdev(bdf);
    device.bind(iommufd);
    return { iommufd, ioas, device, [Symbol.dispose]: (): void => iommufd.close() };
  }

  test("has a device node whose name warns", () => {
    expect(readdirSync(`/sys/bus/pci/devices/${eduBdf()}/vfio-dev`)).toEqual([
      expect.stringMatching(/^noiommu-vfio\d+$/),
    ]);
    using device = VfioDevice.openCdev(eduBdf());
    expect(readlinkSync(`/proc/self/fd/${device.fd}`)).toMatch(/^\/dev\/vfio\/devices\/noiommu-vfio\d+$/);
    expect(() => device.info()).toThrow(StateError);
  });

  test("reports the physical address of mapped memory, as the process's page table has it", async () => {
    using opened = openCdev(eduBdf());
    const { ioas, device } = opened;
    expect(device.attach(ioas)).toBeGreaterThan(0);
    using memory = MappedMemory.anonymous(16 * PAGE);
    memory.bytes.fill(0);
    const at = ioas.map(memory);
    for (let offset = 0; offset < memory.sizeBytes; offset += PAGE) {
      const found = ioas.noiommuPhysicalAddress(at + BigInt(offset), PAGE);
      expect(found).toEqual({ physicalAddress: physicalAddress(memory.address + offset), sizeBytes: PAGE });
    }
    const inside = ioas.noiommuPhysicalAddress(at + 16n, 64);
    expect(inside.physicalAddress).toBe(physicalAddress(memory.address) + 16n);

    using page = MappedMemory.anonymous(PAGE);
    const { physicalAddress: physical } = ioas.noiommuPhysicalAddress(ioas.map(page), PAGE);
    await expectDma(device, page, physical);
  });

  test("reports how much memory is contiguous, which is all of a huge page", () => {
    using opened = openCdev(eduBdf());
    const { ioas, device } = opened;
    device.attach(ioas);
    const sizeBytes = 2 * 1024 * 1024;
    using memory = MappedMemory.anonymous(sizeBytes, { hugePageBytes: sizeBytes });
    const at = ioas.map(memory);
    expect(ioas.noiommuPhysicalAddress(at, sizeBytes)).toEqual({
      physicalAddress: physicalAddress(memory.address),
      sizeBytes,
    });
    const half = sizeBytes / 2;
    expect(ioas.noiommuPhysicalAddress(at + BigInt(half), sizeBytes).sizeBytes).toBe(half);
  });

  test("has registers and can be reset", () => {
    using opened = openCdev(nvmeBdf());
    opened.device.attach(opened.ioas);
    expect(opened.device.capabilities()).toMatchObject({ isPci: true, resettable: true });
    opened.device.reset();
    expect(new Bar(opened.device, 0).read32(0)).not.toBe(0);
    opened.device.detach();
  });

  test("refuses what needs an IOMMU, and unmapped addresses", () => {
    using opened = openCdev(eduBdf());
    const { iommufd, ioas, device } = opened;
    expect(iommufd.capabilities().noiommuPhysicalAddress).toBe(true);
    expect(() => iommufd.hwInfo(device)).toThrow(sysError("IOMMU_GET_HW_INFO", "EOPNOTSUPP"));
    expect(() => ioas.allocHwpt(device, { nestParent: true })).toThrow(
      sysError("IOMMU_HWPT_ALLOC", "EOPNOTSUPP"),
    );
    expect(() => ioas.allocHwpt(device, { dirtyTracking: true })).toThrow(
      sysError("IOMMU_HWPT_ALLOC", "EOPNOTSUPP"),
    );
    expect(() => device.attach(ioas, { pasid: 1 })).toThrow(/VFIO_DEVICE_ATTACH_IOMMUFD_PT/);
    device.attach(ioas);
    expect(() => ioas.noiommuPhysicalAddress(0x1000n, PAGE)).toThrow(
      sysError("IOMMU_IOAS_NOIOMMU_GET_PA", "ENOENT"),
    );
  });
});

describe.each(noiommuWays)("a PCI device by %s", (way) => {
  expectNothingLeft();
  pciDeviceSuite(() => openNoiommu(way));
});

describe("PciDevice.open() without a backend", () => {
  expectNothingLeft();

  test("refuses a device without an IOMMU, for which a driver's addresses would be physical", () => {
    const open = (): unknown => PciDevice.open(eduBdf());
    expect(open).toThrow(UnsupportedError);
    expect(open).toThrow(/iommufd: .*has no IOMMU.*; type1: /);
    expect(() => PciDevice.open(eduBdf(), { backend: "iommufd" })).toThrow("has no IOMMU");
    expect(() => PciDevice.open(eduBdf(), { backend: "type1" })).toThrow(
      sysError("VFIO_SET_IOMMU", "ENODEV"),
    );
  });
});
