/** Linux 6.12: it has iommufd and cdevs, and lacks what came later. Runs what an older kernel must accept, too. */
import { release } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd, Viommu } from "../../../src/doors/iommufd.js";
import { VfioDevice } from "../../../src/doors/vfio.js";
import { bindToVfio, MappedMemory, UnsupportedError, type VfioBinding } from "../../../src/index.js";
import { memfd } from "../../../src/sys/syscalls.js";
import { eduBdf } from "../../support/functions.js";

/** Runs `act` and returns the UnsupportedError it must throw. */
function unsupported(act: () => unknown): UnsupportedError {
  try {
    act();
  } catch (error) {
    if (error instanceof UnsupportedError) return error;
    throw error;
  }
  throw new Error("this kernel was not expected to have that");
}

describe("an older kernel", () => {
  test("has the version that this machine is for", () => {
    expect(release()).toMatch(/^6\.12\./);
  });

  test("reports what it has and what it lacks", () => {
    using iommufd = Iommufd.open();
    expect(iommufd.capabilities()).toEqual({
      hwpt: true,
      hwInfo: true,
      dirtyTracking: true,
      invalidate: true,
      faultQueue: true,
      mapFile: false,
      viommu: false,
      vdevice: false,
      changeProcess: false,
      veventq: false,
      hwQueue: false,
      noiommuPhysicalAddress: false,
    });
  });

  test("names the first kernel that has a missing request", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    const fd = memfd("test", 4096);
    using file = MappedMemory.ofFile(fd, 0, 4096, "memfd");
    expect(unsupported(() => ioas.mapFile(fd, 0, file.sizeBytes)).message).toMatch(
      /IOMMU_IOAS_MAP_FILE.*Linux 6\.13/,
    );
    expect(unsupported(() => iommufd.changeProcess()).message).toMatch(
      /IOMMU_IOAS_CHANGE_PROCESS.*Linux 6\.14/,
    );
    expect(unsupported(() => ioas.noiommuPhysicalAddress(0n, 4096)).message).toMatch(
      /IOMMU_IOAS_NOIOMMU_GET_PA/,
    );
  });

  describe("with a real device", () => {
    let binding: VfioBinding;
    beforeAll(() => {
      binding = bindToVfio(eduBdf());
    });
    afterAll(() => binding.close());

    test("binds and attaches without the fields it doesn't know", () => {
      using iommufd = Iommufd.open();
      using ioas = iommufd.allocIoas();
      using device = VfioDevice.openCdev(binding.bdf);
      device.bind(iommufd);
      expect(device.attach(ioas)).toBeGreaterThan(0);
      expect(iommufd.hwInfo(device).registers.kind).toBe("intel-vtd");
      expect(device.capabilities()).toMatchObject({ isPci: true, dmaBuf: false, precopyInfoV2: false });
      device.detach();
    });

    test("accepts its requests in their shorter form", () => {
      using iommufd = Iommufd.open();
      using ioas = iommufd.allocIoas();
      using device = VfioDevice.openCdev(binding.bdf);
      device.bind(iommufd);
      using faults = iommufd.allocFaultQueue();
      expect(faults.take()).toEqual([]);
      using hwpt = ioas.allocHwpt(device);
      expect(device.attach(hwpt)).toBe(hwpt.id);
      expect(iommufd.hwInfo(device)).toMatchObject({ dirtyTracking: false, maxPasidLog2: 0 });
      const data = { type: 1, bytes: new Uint8Array(0) };
      expect(unsupported(() => Viommu.alloc(hwpt, device, data)).message).toMatch(
        /IOMMU_VIOMMU_ALLOC.*Linux 6\.13/,
      );
    });
  });
});
