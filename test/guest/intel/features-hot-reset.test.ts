/** Reset of a bus, and of all that is on it: behind a root port there is one. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import {
  EventFd,
  hotReset,
  hotResetAsync,
  hotResetInfo,
  VfioContainer,
  VfioDevice,
  VfioGroup,
} from "../../../src/doors/vfio.js";
import { Bar, bindToVfio, UnsupportedError, type VfioBinding } from "../../../src/index.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, nvmeBdf, otherPortEduBdf, portEduBdf, sriovNvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { openMode, vfioModes } from "../../support/vfio-modes.js";

/** Registers of an NVMe controller. */
const NVME = {
  configuration: 0x14,
  status: 0x1c,
  adminQueues: 0x24,
  submissionQueue: 0x28,
  completionQueue: 0x30,
} as const;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), portEduBdf(), sriovNvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe.each(vfioModes)("a device on the root bus by %s", (mode) => {
  expectNothingLeft();

  test.each([
    ["edu", eduBdf],
    ["nvme", nvmeBdf],
  ])("has no hot reset: %s", async (_name, bdf) => {
    using space = openMode(mode);
    const { device } = space.open(bdf());
    expect(device.capabilities().hotReset).toBe(false);
    expect(() => hotResetInfo(device)).toThrow(UnsupportedError);
    // Of a device opened through a group the kernel asks for groups first.
    const refused = mode === "iommufd" ? UnsupportedError : sysError("VFIO_DEVICE_PCI_HOT_RESET", "EINVAL");
    expect(() => hotReset(device)).toThrow(refused);
    await expect(hotResetAsync(device)).rejects.toThrow(refused);
  });
});

/** Starts an NVMe controller, which only a reset of the device stops then. */
async function expectReset(device: VfioDevice, reset: () => void | Promise<void>): Promise<void> {
  const registers = new Bar(device, 0);
  const ready = (): number => registers.read32(NVME.status) & 1;
  // Two admin queues of two entries, at addresses that the controller has no reason to look at.
  registers.write32(NVME.adminQueues, 0x0001_0001);
  registers.write64(NVME.submissionQueue, 0x1_0000n);
  registers.write64(NVME.completionQueue, 0x2_0000n);
  registers.write32(NVME.configuration, 0x0046_0001);
  await expect.poll(ready, { timeout: 600_000 }).toBe(1);
  await reset();
  expect(ready()).toBe(0);
}

describe("a device opened by its character device", () => {
  expectNothingLeft();

  test("is reported as owned if it is alone on its bus, and can be reset", async () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(sriovNvmeBdf());
    device.bind(iommufd);
    expect(device.capabilities().hotReset).toBe(true);
    expect(hotResetInfo(device)).toEqual({
      allOwned: true,
      devices: [{ bdf: sriovNvmeBdf(), group: undefined, deviceId: device.deviceId, owned: true }],
    });
    await expectReset(device, () => hotReset(device));
    await expectReset(device, () => hotResetAsync(device));
  });

  test("accepts no groups for its hot reset", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(sriovNvmeBdf());
    device.bind(iommufd);
    using eventfd = new EventFd();
    expect(() => hotReset(device, [eventfd])).toThrow(sysError("VFIO_DEVICE_PCI_HOT_RESET", "EINVAL"));
  });

  test("can't be reset beside a device that no VFIO driver has", async () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(portEduBdf());
    device.bind(iommufd);
    const info = hotResetInfo(device);
    expect(info.devices.map(({ bdf }) => bdf)).toEqual([portEduBdf(), otherPortEduBdf()]);
    expect(info.devices[0]).toMatchObject({ deviceId: device.deviceId, owned: true });
    expect(info).toMatchObject({ allOwned: false });
    expect(info.devices[1]).toMatchObject({ deviceId: undefined, owned: false });
    expect(() => hotReset(device)).toThrow(sysError("VFIO_DEVICE_PCI_HOT_RESET", "EINVAL"));
    await expect(hotResetAsync(device)).rejects.toThrow(sysError("VFIO_DEVICE_PCI_HOT_RESET", "EINVAL"));
  });

  describe("a device beside another one of its group", () => {
    let other: VfioBinding;
    beforeEach(() => {
      other = bindToVfio(otherPortEduBdf());
      return () => other.close();
    });

    test("owns the other one as well, and resets both", async () => {
      using iommufd = Iommufd.open();
      using device = VfioDevice.openCdev(portEduBdf());
      device.bind(iommufd);
      expect(hotResetInfo(device)).toEqual({
        allOwned: true,
        devices: [
          { bdf: portEduBdf(), group: undefined, deviceId: device.deviceId, owned: true },
          { bdf: otherPortEduBdf(), group: undefined, deviceId: undefined, owned: true },
        ],
      });
      hotReset(device);
      using second = VfioDevice.openCdev(otherPortEduBdf());
      second.bind(iommufd);
      expect(hotResetInfo(device).devices[1]).toMatchObject({ deviceId: second.deviceId, owned: true });
      hotReset(second);
      await hotResetAsync(second);
      expect(device.info().isPci).toBe(true);
    });
  });
});

describe("a device opened through its group", () => {
  expectNothingLeft();

  function openGroup() {
    const container = VfioContainer.open();
    const group = VfioGroup.openFor(sriovNvmeBdf());
    group.setContainer(container);
    container.setIommu("type1v2");
    const device = group.openDevice(sriovNvmeBdf());
    const close = (): void => {
      container.close();
      group.close();
    };
    return { group, device, [Symbol.dispose]: close };
  }

  test("is reported by its group, and can be reset by the process that has the group", async () => {
    using opened = openGroup();
    const { device, group } = opened;
    expect(hotResetInfo(device)).toEqual({
      allOwned: undefined,
      devices: [{ bdf: sriovNvmeBdf(), group: group.number, deviceId: undefined, owned: undefined }],
    });
    await expectReset(device, () => hotReset(device, [group]));
  });

  test("can't be reset without its group, or with another descriptor for it", () => {
    using opened = openGroup();
    const { device, group } = opened;
    const refused = (code: string): unknown => sysError("VFIO_DEVICE_PCI_HOT_RESET", code);
    expect(() => hotReset(device)).toThrow(refused("EINVAL"));
    using eventfd = new EventFd();
    expect(() => hotReset(device, [eventfd])).toThrow(refused("EINVAL"));
    expect(() => hotReset(device, [{ fd: 0x7fff_ffff }])).toThrow(
      sysError("VFIO_DEVICE_PCI_HOT_RESET", "EBADF"),
    );
    expect(() => hotReset(device, [group, group])).toThrow(refused("EINVAL"));
  });
});
