/**
 * vfio_iommufd_setup_test.c, vfio_pci_device_test.c and vfio_pci_device_init_perf_test.c of the kernel's self-tests, in
 * our words. The kernel runs the device cases in one mode; here they run in all five.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  bindToVfio,
  ConfigSpace,
  EventFd,
  Interrupts,
  Iommufd,
  PciCommand,
  PciRegister,
  StateError,
  UnsupportedError,
  type VfioBinding,
  VfioDevice,
} from "../../../src/index.js";
import { Errno } from "../../../src/sys/errno.js";
import { tryIoctl } from "../../../src/sys/ioctl.js";
import { Lease } from "../../../src/sys/resource.js";
import {
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_GET_INFO,
  vfio_device_bind_iommufd,
  vfio_device_info,
} from "../../../src/vfio/uapi.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { openMode, vfioModes } from "../../support/vfio-modes.js";

const PAGE = 4096;
/** As the kernel's test: not more vectors than interrupt remapping surely has. */
const MAX_VECTORS = 16;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe("a device's character device", () => {
  expectNothingLeft();

  it("answers once it is bound [vfio_cdev.bind]", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    expect(device.info()).toMatchObject({ isPci: true, numRegions: 9, numIrqs: 5 });
  });

  it("does not answer before, neither here nor in the kernel [vfio_cdev.get_info_without_bind_fails]", () => {
    using device = VfioDevice.openCdev(nvmeBdf());
    expect(() => device.info()).toThrow(StateError);
    expect(tryIoctl(device.fd, VFIO_DEVICE_GET_INFO, vfio_device_info.encode({}))).toBe(-Errno.EINVAL);
  });

  it("is bound to no descriptor that is none [vfio_cdev.bind_bad_iommufd_fails]", () => {
    using device = VfioDevice.openCdev(nvmeBdf());
    const lease = new Lease("no iommufd", () => {});
    const bind = (fd: number) => () => device.bind({ fd, lease });
    expect(bind(-2)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EINVAL"));
    expect(bind(0x7fff_ffff)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EBADF"));
    using eventfd = new EventFd();
    expect(bind(eventfd.fd)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EBADFD"));
    expect(() => device.info()).toThrow(StateError);
  });

  it("is bound once, here and in the kernel [vfio_cdev.repeated_bind_fails]", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    expect(() => device.bind(iommufd)).toThrow(StateError);
    const request = vfio_device_bind_iommufd.encodeUpTo("token_uuid_ptr", { iommufd: iommufd.fd });
    expect(tryIoctl(device.fd, VFIO_DEVICE_BIND_IOMMUFD, request)).toBe(-Errno.EINVAL);
    expect(device.info().isPci).toBe(true);
  });

  it("is attached to an address space, and detached [vfio_cdev.attach_detatch_pt]", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    expect(device.attach(ioas)).not.toBe(ioas.id);
    device.detach();
    expect(device.info().isPci).toBe(true);
  });

  it("is attached to nothing that is not there [vfio_cdev.attach_invalid_pt_fails]", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    const nothing = { id: 0xffff_ffff, iommufd, lease: new Lease("nothing", () => {}) };
    expect(() => device.attach(nothing)).toThrow(sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "ENOENT"));
  });
});

describe.each(vfioModes)("a PCI device by %s", (mode) => {
  expectNothingLeft();

  it("has a configuration space that can be read and written [vfio_pci_device_test.config_space_read_write]", () => {
    using space = openMode(mode);
    using opened = space.open(nvmeBdf());
    const config = new ConfigSpace(opened.device);
    const sysfs = (file: string): number =>
      Number(readFileSync(`/sys/bus/pci/devices/${nvmeBdf()}/${file}`, "utf8"));
    expect(config.read16(PciRegister.vendorId)).toBe(sysfs("vendor"));
    expect(config.read16(PciRegister.deviceId)).toBe(sysfs("device"));

    const command = config.read16(PciRegister.command);
    expect(command & PciCommand.busMaster).toBe(0);
    config.write16(PciRegister.command, command | PciCommand.busMaster);
    expect(config.read16(PciRegister.command)).toBe(command | PciCommand.busMaster);
    config.write16(PciRegister.command, command);
    expect(config.read16(PciRegister.command)).toBe(command);
  });

  it.each([
    ["nvme", nvmeBdf],
    ["edu", eduBdf],
    ["pci-testdev", emptyBarBdf],
  ])(
    "%s has BARs that are mapped or say that they can't be [vfio_pci_device_test.validate_bars]",
    (_name, bdf) => {
      using space = openMode(mode);
      using opened = space.open(bdf());
      for (const index of [0, 1, 2, 3, 4, 5]) {
        const region = opened.device.regionInfo(index);
        if (region.mappable.length === 0) {
          const map = () => opened.device.mapRegion(index, 0, Math.min(PAGE, region.sizeBytes || PAGE));
          expect(map, `BAR ${index}`).toThrow(region.sizeBytes === 0 ? "lie outside" : UnsupportedError);
          continue;
        }
        for (const { offset, sizeBytes } of region.mappable) {
          using mapping = opened.device.mapRegion(index, offset, sizeBytes);
          expect(mapping.sizeBytes, `BAR ${index}`).toBeGreaterThanOrEqual(sizeBytes);
        }
      }
    },
  );

  it("can be reset [vfio_pci_device_test.reset]", () => {
    using space = openMode(mode);
    using opened = space.open(nvmeBdf());
    expect(opened.device.info().resettable).toBe(true);
    opened.device.reset();
    expect(opened.device.info().resettable).toBe(true);
  });

  it.each([
    ["msi", eduBdf],
    ["msix", nvmeBdf],
  ] as const)(
    "has %s interrupts that are enabled, triggered and disabled [vfio_pci_irq_test.enable_trigger_disable]",
    (kind, bdf) => {
      using space = openMode(mode);
      using opened = space.open(bdf());
      using interrupts = new Interrupts(opened.device, { kind, count: MAX_VECTORS });
      expect(interrupts.vectors).toHaveLength(kind === "msi" ? 1 : MAX_VECTORS);
      interrupts.vectors.forEach((eventfd, vector) => {
        expect(eventfd.take()).toBe(0);
        interrupts.trigger(vector);
        expect(interrupts.vectors.map((each) => each.take())).toEqual(
          interrupts.vectors.map((each) => (each === eventfd ? 1 : 0)),
        );
      });
    },
  );

  it("shares its address space with others that start at the same time [vfio_pci_device_init_perf_test.init]", async () => {
    using space = openMode(mode);
    const opened = [nvmeBdf(), eduBdf(), emptyBarBdf()].map((bdf) => space.open(bdf));
    // What takes long in a start, the reset, runs beside the others' off the JavaScript thread.
    const resets = await Promise.allSettled(opened.map(({ device }) => device.resetAsync()));
    expect(resets.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    expect(opened.map(({ device }) => device.info().resettable)).toEqual([true, false, false]);
  });
});
