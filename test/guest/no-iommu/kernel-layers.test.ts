/** What VFIO and iommufd do on a host without an IOMMU. */
import { afterEach, describe, expect, test } from "vitest";
import { compare } from "../../../src/cli/compare/compare.js";
import { IoasMapper, Iommufd } from "../../../src/doors/iommufd.js";
import { groupOf, VfioContainer, VfioDevice, VfioGroup } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  BindError,
  bindToVfio,
  DmaSpace,
  MappedMemory,
  PciDevice,
  readPciFunction,
  StateError,
  UnsupportedError,
} from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { sysError } from "../../support/errors.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

const PAGE = 4096;

expectNothingLeft();

describe("a device without an IOMMU", () => {
  afterEach(() => {
    expect(driverOf(nvmeBdf())).toBe("nvme");
  });

  test("has no group", () => {
    expect(readPciFunction(nvmeBdf()).iommuGroup).toBeUndefined();
    expect(() => groupOf(nvmeBdf())).toThrow(
      new UnsupportedError(`${nvmeBdf()} has no IOMMU group: the IOMMU is switched off or absent`),
    );
    expect(() => VfioGroup.openFor(nvmeBdf())).toThrow(UnsupportedError);
    expect(() => VfioGroup.openFor("0000:00:1b.7")).toThrow(ArgumentError);
    expect(() => VfioGroup.open(0)).toThrow(sysError("open", "ENOENT"));
  });

  test("has no VFIO character device", () => {
    expect(() => VfioDevice.openCdev(nvmeBdf())).toThrow(UnsupportedError);
    expect(() => VfioDevice.openCdev(nvmeBdf())).toThrow("not vfio-pci");
  });

  test("can't be compared, and the error recommends a guest", async () => {
    const attempt = compare({ quick: true });
    await expect(attempt).rejects.toThrow(UnsupportedError);
    await expect(attempt).rejects.toThrow(/no device is bound to vfio-pci.*iova compare --guest/);
    await expect(compare({ bdf: nvmeBdf() })).rejects.toThrow("is bound to nvme, not to vfio-pci");
  });

  test("can't be opened, and the error has both reasons", () => {
    const open = (): unknown => PciDevice.open(nvmeBdf());
    expect(open).toThrow(UnsupportedError);
    expect(open).toThrow(/iommufd: .*VFIO character device.*; type1: .*no IOMMU group/);
    try {
      open();
    } catch (error) {
      expect(error).toMatchObject({
        cause: { errors: [expect.any(UnsupportedError), expect.any(UnsupportedError)] },
      });
    }
    for (const backend of backendNames) {
      expect(() => PciDevice.open(nvmeBdf(), { backend })).toThrow(UnsupportedError);
    }
  });

  test("is refused by vfio-pci, and keeps its driver", () => {
    expect(() => bindToVfio(nvmeBdf())).toThrow(BindError);
  });
});

describe("a host without an IOMMU", () => {
  test("has IOASes", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using other = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(4 * PAGE);
    const before = holdings();
    const at = ioas.map(memory);
    expect(ioas.map(memory, { iova: 0xfee00000n })).toBe(0xfee00000n);
    expect(other.copyFrom(ioas, at, PAGE, { iova: 0x1000n })).toBe(0x1000n);
    // Pages are pinned for devices only: nothing is pinned, and nobody asks whether memory is there.
    expect(holdings()).toEqual(before);
    const nowhere = ioas.map({ address: 0x8000, sizeBytes: PAGE });
    expect(ioas.unmap(nowhere, PAGE)).toBe(PAGE);
    expect(() => ioas.map(memory, { iova: 0xfee00000n })).toThrow(sysError("IOMMU_IOAS_MAP", "EEXIST"));
    expect(ioas.unmapAll()).toBe(BigInt(8 * PAGE));
  });

  test("has a DmaSpace that allocates memory", () => {
    using iommufd = Iommufd.open();
    const space = new DmaSpace(new IoasMapper(iommufd.allocIoas()));
    const buffer = space.alloc(PAGE, { iova: 0x40000n });
    expect(buffer.iova).toBe(0x40000n);
    expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
    buffer.bytes.fill(1);
    buffer.close();
    expect(space.alloc(PAGE, { iova: 0x40000n }).iova).toBe(0x40000n);
  });

  test("has a container, which stays empty", () => {
    using container = VfioContainer.open();
    expect(() => container.setIommu("type1v2")).toThrow(sysError("VFIO_SET_IOMMU", "EINVAL"));
    expect(() => container.info()).toThrow(StateError);
  });
});
