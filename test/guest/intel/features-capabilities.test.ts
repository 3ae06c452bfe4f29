/** What capabilities() says against what then works or throws UnsupportedError. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd, Viommu } from "../../../src/doors/iommufd.js";
import {
  type DeviceCapabilities,
  DmaLogging,
  EventFd,
  enterLowPower,
  exitLowPower,
  exportDmaBuf,
  hotResetInfo,
  Migration,
  queryGfxPlane,
  setVfToken,
  VfioDevice,
} from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  bindToVfio,
  SysError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, nvmeBdf, portEduBdf, sriovNvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { openMode, vfioModes } from "../../support/vfio-modes.js";

const PAGE = 4096;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), portEduBdf(), sriovNvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

type Feature = Exclude<
  {
    [K in keyof DeviceCapabilities]: DeviceCapabilities[K] extends boolean ? K : never;
  }[keyof DeviceCapabilities],
  "isPci"
>;

/** One use of each feature. */
const uses: Readonly<Record<Feature, (device: VfioDevice) => void>> = {
  resettable: (device) => device.reset(),
  hotReset: (device) => {
    hotResetInfo(device);
  },
  vfToken: (device) => setVfToken(device, "52ac9bff-3a88-4fbd-901a-0d767c3b6c97"),
  migration: (device) => {
    new Migration(device);
  },
  migrationDataSize: (device) => {
    new Migration(device).dataSize();
  },
  precopyInfoV2: (device) => new Migration(device).enablePrecopyInfoV2(),
  lowPower: (device) => {
    enterLowPower(device);
    exitLowPower(device);
  },
  lowPowerWakeup: (device) => {
    using eventfd = new EventFd();
    enterLowPower(device, eventfd);
    exitLowPower(device);
  },
  dmaLogging: (device) => new DmaLogging(device).start(PAGE, [{ iova: 0n, sizeBytes: PAGE }]),
  dmaBuf: (device) => exportDmaBuf(device, 0, [{ offset: 0, sizeBytes: PAGE }]).close(),
  displayDmaBuf: (device) => {
    queryGfxPlane(device, "dmabuf", 1);
  },
  displayRegion: (device) => {
    queryGfxPlane(device, "region", 1);
  },
};

const devices = [
  { name: "nvme", bdf: nvmeBdf },
  { name: "edu", bdf: eduBdf },
  { name: "an edu behind a port", bdf: portEduBdf },
  { name: "an nvme with SR-IOV", bdf: sriovNvmeBdf },
] as const;

describe.each(vfioModes)("capabilities of VFIO devices by %s", (mode) => {
  expectNothingLeft();

  test.each(devices)("of $name tell exactly what it can do", ({ bdf }) => {
    using space = openMode(mode);
    const { device } = space.open(bdf());
    const capabilities = device.capabilities();
    expect(device.capabilities()).toBe(capabilities);
    for (const [name, use] of Object.entries(uses)) {
      const says = Object.entries(capabilities).find(([key]) => key === name)?.[1];
      if (says === true) expect(() => use(device), name).not.toThrow();
      else expect(() => use(device), name).toThrow(UnsupportedError);
    }
  });
});

describe("capabilities", () => {
  test("differ from device to device", () => {
    using space = openMode("iommufd");
    const [nvme, edu, portEdu, sriov] = devices.map(({ bdf }) => space.open(bdf()).device.capabilities());
    expect(nvme).toMatchObject({
      resettable: true,
      hotReset: false,
      vfToken: false,
      migration: false,
      dmaBuf: true,
    });
    expect(edu).toMatchObject({ resettable: false, hotReset: false, lowPower: true });
    expect(portEdu).toMatchObject({ hotReset: true });
    expect(sriov).toMatchObject({ resettable: true, hotReset: true });
    expect(nvme?.irqs).toMatchObject({ intx: { count: 1 }, msi: { count: 0 }, msix: { count: 65 } });
    expect(edu?.irqs).toMatchObject({ intx: { count: 1 }, msi: { count: 1 }, msix: { count: 0 } });
  });
});

describe("iommufd with the IOMMU of this machine", () => {
  expectNothingLeft();

  function openNvme() {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    return { iommufd, ioas, device, [Symbol.dispose]: (): void => iommufd.close() };
  }

  test("has every request, and refuses what this IOMMU lacks", async () => {
    using opened = openNvme();
    const { iommufd, ioas, device } = opened;
    const capabilities = iommufd.capabilities();
    expect(iommufd.capabilities()).toBe(capabilities);
    expect(Object.values(capabilities).every(Boolean)).toBe(true);
    const info = iommufd.hwInfo(device);
    expect(info).toMatchObject({ dirtyTracking: false, maxPasidLog2: 0 });
    const refused = sysError("IOMMU_HWPT_ALLOC", "EOPNOTSUPP");
    expect(() => ioas.allocHwpt(device, { dirtyTracking: true })).toThrow(refused);
    expect(() => ioas.allocHwpt(device, { nestParent: true })).toThrow(refused);
    using plain = ioas.allocHwpt(device);
    expect(
      await caught(() => Viommu.alloc(plain, device, { type: 1, bytes: new Uint8Array(0) })),
    ).toBeInstanceOf(SysError);
    using queue = iommufd.allocFaultQueue();
    expect(queue.closed).toBe(false);
    expect(() => plain.setDirtyTracking(true)).toThrow(
      sysError("IOMMU_HWPT_SET_DIRTY_TRACKING", "EOPNOTSUPP"),
    );
  });

  test("rejects a PASID for page tables that weren't made for one", () => {
    using opened = openNvme();
    const { ioas, device } = opened;
    using hwpt = ioas.allocHwpt(device);
    // Before the device itself is attached, and after.
    expect(() => device.attach(hwpt, { pasid: 1 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EINVAL"),
    );
    device.attach(hwpt);
    expect(() => device.attach(hwpt, { pasid: 1 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EINVAL"),
    );
    expect(() => device.attach(ioas, { pasid: 1 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EINVAL"),
    );
    // PASID 0 is the device's own DMA, which has its page table.
    expect(() => device.attach(hwpt, { pasid: 0 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EBUSY"),
    );
    expect(() => device.attach(hwpt, { pasid: -1 })).toThrow(ArgumentError);
    expect(() => device.attach(hwpt, { pasid: 2 ** 32 })).toThrow(ArgumentError);
    device.detach({ pasid: 1 });
    expect(device.attach(hwpt)).toBe(hwpt.id);
    // Between page tables that are fit for PASIDs the kernel keeps the books, though this device sends none.
    using fit = ioas.allocHwpt(device, { pasid: true });
    expect(device.attach(fit)).toBe(fit.id);
    expect(device.attach(fit, { pasid: 1 })).toBe(fit.id);
    expect(() => device.attach(hwpt, { pasid: 2 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EINVAL"),
    );
    expect(() => device.attach(ioas, { pasid: 2 })).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "EINVAL"),
    );
    device.detach({ pasid: 1 });
  });

  test("rejects a page table with a fault queue for a device without page requests, and says what is missing", () => {
    using opened = openNvme();
    const { iommufd, ioas, device } = opened;
    using queue = iommufd.allocFaultQueue();
    using faulting = ioas.allocHwpt(device, { faultQueue: queue });
    expect(() => device.attach(faulting)).toThrow(
      sysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "ENODEV", {
        hint: "the page table has a fault queue, but the device or the IOMMU lacks page requests (ATS and PRI)",
      }),
    );
    // The device can still be attached to an ordinary page table.
    expect(device.attach(ioas)).toBeGreaterThan(0);
  });

  test("rejects a token for a device that needs none", () => {
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(nvmeBdf());
    const token = "52ac9bff-3a88-4fbd-901a-0d767c3b6c97";
    expect(() => device.bind(iommufd, { token })).toThrow(sysError("VFIO_DEVICE_BIND_IOMMUFD", "EINVAL"));
    expect(() => device.bind(iommufd, { token: "secret" })).toThrow(ArgumentError);
    device.bind(iommufd);
    expect(device.deviceId).toBeGreaterThan(0);
  });
});
