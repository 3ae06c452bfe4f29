/**
 * vfio_iommufd_setup_test.c of the kernel's self-tests, in our words; and vfio_pci_device_test.c, which the kernel runs in
 * one mode, in all five.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Errno } from "../../../src/core/errno.js";
import { Lease } from "../../../src/core/lifetime/lease.js";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { EventFd, VfioDevice } from "../../../src/doors/vfio.js";
import { bindToVfio, StateError, type VfioBinding } from "../../../src/index.js";
import { tryIoctl } from "../../../src/sys/ioctl.js";
import {
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_GET_INFO,
  vfio_device_bind_iommufd,
  vfio_device_info,
} from "../../../src/vfio/uapi.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { pciDeviceSuite } from "../../support/pci-device-suite.js";
import { openMode, vfioModes } from "../../support/vfio-modes.js";

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe("a device's character device", () => {
  expectNothingLeft();

  test("answers once it is bound [vfio_cdev.bind]", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    expect(device.info()).toMatchObject({ isPci: true, numRegions: 9, numIrqs: 5 });
  });

  test("doesn't answer before it is bound, neither here nor in the kernel [vfio_cdev.get_info_without_bind_fails]", () => {
    using device = VfioDevice.openCdev(nvmeBdf());
    expect(() => device.info()).toThrow(StateError);
    expect(tryIoctl(device.fd, VFIO_DEVICE_GET_INFO, vfio_device_info.encode({}))).toBe(-Errno.EINVAL);
  });

  test("can't be bound to an invalid descriptor [vfio_cdev.bind_bad_iommufd_fails]", () => {
    using device = VfioDevice.openCdev(nvmeBdf());
    const lease = new Lease("no iommufd", () => {});
    const bind = (fd: number) => () => device.bind({ fd, lease });
    expect(bind(-2)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EINVAL"));
    expect(bind(0x7fff_ffff)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EBADF"));
    using eventfd = new EventFd();
    expect(bind(eventfd.fd)).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EBADFD"));
    expect(() => device.info()).toThrow(StateError);
  });

  test("can be bound only once, here and in the kernel [vfio_cdev.repeated_bind_fails]", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    expect(() => device.bind(iommufd)).toThrow(StateError);
    const request = vfio_device_bind_iommufd.encodeUpTo("token_uuid_ptr", { iommufd: iommufd.fd });
    expect(tryIoctl(device.fd, VFIO_DEVICE_BIND_IOMMUFD, request)).toBe(-Errno.EINVAL);
    expect(device.info().isPci).toBe(true);
  });

  test("can be attached to an address space, and detached [vfio_cdev.attach_detatch_pt]", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    expect(device.attach(ioas)).not.toBe(ioas.id);
    device.detach();
    expect(device.info().isPci).toBe(true);
  });

  test("can't be attached to an address space that doesn't exist [vfio_cdev.attach_invalid_pt_fails]", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    const nothing = { id: 0xffff_ffff, iommufd, lease: new Lease("nothing", () => {}) };
    expect(() => device.attach(nothing)).toThrow(sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "ENOENT"));
  });
});

describe.each(vfioModes)("a PCI device by %s", (mode) => {
  expectNothingLeft();
  pciDeviceSuite(() => openMode(mode));
});
