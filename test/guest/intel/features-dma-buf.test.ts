/** Part of a BAR as a dma-buf, mapped into an address space: a device reaches another device's memory. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { exportDmaBuf, VfioDevice } from "../../../src/doors/vfio.js";
import { ArgumentError, bindToVfio, MappedMemory, type VfioBinding } from "../../../src/index.js";
import { Edu } from "../../support/edu.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { provoke } from "../../support/provoke.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
/** The controller's memory buffer. */
const CMB_BAR = 2;
const TESTDEV_IO_BAR = 1;
const MEMORY_IOVA = 0x10_0000n;
const CMB_IOVA = 0x400_0000n;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf(), emptyBarBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

/** An edu in an address space, and a controller whose memory may be mapped there. */
function openBoth() {
  const iommufd = Iommufd.open();
  const ioas = iommufd.allocIoas();
  const memory = MappedMemory.anonymous(PAGE);
  ioas.map(memory, { iova: MEMORY_IOVA });
  const open = (bdf: string): VfioDevice => {
    const device = VfioDevice.openCdev(bdf);
    device.bind(iommufd);
    device.attach(ioas);
    return device;
  };
  const nvme = open(nvmeBdf());
  const edu = new Edu(open(eduBdf()));
  const close = (): void => {
    iommufd.close();
    memory.close();
  };
  return { iommufd, ioas, memory, nvme, edu, [Symbol.dispose]: close };
}

function cmbBytes(nvme: VfioDevice, offset: number): number[] {
  const bytes = new Uint8Array(8);
  nvme.readRegion(CMB_BAR, offset, bytes);
  return [...bytes];
}

const filled = (value: number): number[] => Array.from({ length: 8 }, () => value);

describe("a BAR exported as a dma-buf", () => {
  expectNothingLeft();

  test("can be reached by another device through the IOMMU", async () => {
    using both = openBoth();
    const { ioas, memory, nvme, edu } = both;
    using buffer = exportDmaBuf(nvme, CMB_BAR, [{ offset: MIB, sizeBytes: MIB }]);
    expect(buffer.sizeBytes).toBe(MIB);
    expect(ioas.mapFile(buffer.fd, 0, MIB, { iova: CMB_IOVA })).toBe(CMB_IOVA);
    nvme.writeRegion(CMB_BAR, MIB, new Uint8Array(64));
    memory.bytes.fill(0x6b);
    await edu.load(MEMORY_IOVA, 64);
    await edu.store(CMB_IOVA, 64);
    expect(cmbBytes(nvme, MIB)).toEqual(filled(0x6b));
    expect(cmbBytes(nvme, MIB + 64)).toEqual(filled(0));
    // And the other way.
    nvme.writeRegion(CMB_BAR, MIB + PAGE, new Uint8Array(64).fill(0x3c));
    await edu.load(CMB_IOVA + BigInt(PAGE), 64);
    await edu.store(MEMORY_IOVA, 64);
    expect(memory.bytes.subarray(0, 64).every((byte) => byte === 0x3c)).toBe(true);
    expect(ioas.unmap(CMB_IOVA, MIB)).toBe(MIB);
  });

  test("is revoked by a reset: old mappings can't be reached, new ones can", async () => {
    provoke("vtd_dmar_fault");
    using both = openBoth();
    const { ioas, memory, nvme, edu } = both;
    using buffer = exportDmaBuf(nvme, CMB_BAR, [{ offset: 0, sizeBytes: PAGE }]);
    ioas.mapFile(buffer.fd, 0, PAGE, { iova: CMB_IOVA });
    memory.bytes.fill(0x6b);
    await edu.load(MEMORY_IOVA, 64);
    await edu.store(CMB_IOVA, 64);
    expect(cmbBytes(nvme, 0)).toEqual(filled(0x6b));

    await nvme.resetAsync();
    nvme.writeRegion(CMB_BAR, 0, new Uint8Array(64));
    await edu.store(CMB_IOVA, 64);
    expect(cmbBytes(nvme, 0)).toEqual(filled(0));

    expect(ioas.unmap(CMB_IOVA, PAGE)).toBe(PAGE);
    ioas.mapFile(buffer.fd, 0, PAGE, { iova: CMB_IOVA });
    await edu.store(CMB_IOVA, 64);
    expect(cmbBytes(nvme, 0)).toEqual(filled(0x6b));
  });

  test("is revoked when its device is closed", async () => {
    provoke("vtd_dmar_fault");
    using both = openBoth();
    const { ioas, nvme, edu } = both;
    const buffer = exportDmaBuf(nvme, CMB_BAR, [{ offset: 0, sizeBytes: PAGE }]);
    ioas.mapFile(buffer.fd, 0, PAGE, { iova: CMB_IOVA });
    nvme.close();
    expect(buffer.closed).toBe(true);
    await edu.store(CMB_IOVA, 64);
    expect(edu.busy).toBe(false);
    expect(ioas.unmap(CMB_IOVA, PAGE)).toBe(PAGE);
  });

  test("is refused outside mappable memory", () => {
    using both = openBoth();
    const { iommufd, ioas, nvme } = both;
    const invalid = sysError("VFIO_DEVICE_FEATURE", "EINVAL");
    const part = (offset: number, sizeBytes: number) => () =>
      exportDmaBuf(nvme, CMB_BAR, [{ offset, sizeBytes }]);
    expect(part(0, 100)).toThrow(invalid);
    expect(part(100, PAGE)).toThrow(invalid);
    expect(part(nvme.regionInfo(CMB_BAR).sizeBytes, PAGE)).toThrow(invalid);
    expect(part(0, 0)).toThrow(ArgumentError);
    expect(part(-PAGE, PAGE)).toThrow(ArgumentError);
    expect(() => exportDmaBuf(nvme, CMB_BAR, [])).toThrow(invalid);
    expect(() => exportDmaBuf(nvme, 7, [{ offset: 0, sizeBytes: PAGE }])).toThrow(
      sysError("VFIO_DEVICE_FEATURE", "ENODEV"),
    );
    using testdev = VfioDevice.openCdev(emptyBarBdf());
    expect(() => exportDmaBuf(testdev, 0, [{ offset: 0, sizeBytes: PAGE }])).toThrow("not bound");
    testdev.bind(iommufd);
    expect(() => exportDmaBuf(testdev, TESTDEV_IO_BAR, [{ offset: 0, sizeBytes: PAGE }])).toThrow(
      sysError("VFIO_DEVICE_FEATURE", "EINVAL"),
    );

    // Several ranges make a dma-buf, but none that iommufd can map.
    using two = exportDmaBuf(nvme, CMB_BAR, [
      { offset: 0, sizeBytes: PAGE },
      { offset: 2 * PAGE, sizeBytes: PAGE },
    ]);
    expect(two.sizeBytes).toBe(2 * PAGE);
    expect(() => ioas.mapFile(two.fd, 0, 2 * PAGE)).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EOPNOTSUPP"));
    using one = exportDmaBuf(nvme, CMB_BAR, [{ offset: 0, sizeBytes: PAGE }]);
    expect(() => ioas.mapFile(one.fd, 0, 2 * PAGE)).toThrow(sysError("IOMMU_IOAS_MAP_FILE", "EINVAL"));
  });
});
