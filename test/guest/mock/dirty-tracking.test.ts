/** Dirty tracking of page tables on the mock IOMMU. */
import { describe, expect, test } from "vitest";
import { DirtyBitmap } from "../../../src/doors/dma.js";
import { type DriverData, type Ioas, Iommufd, type PagingHwpt } from "../../../src/doors/iommufd.js";
import { MappedMemory } from "../../../src/index.js";
import {
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
  IOMMU_HWPT_SET_DIRTY_TRACKING,
  iommu_hwpt_get_dirty_bitmap,
  iommu_hwpt_set_dirty_tracking,
} from "../../../src/iommufd/uapi-hwpt.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { MockDevice, markDirty, mock, mockHwptData } from "../../support/mock.js";
import { HUGE_PAGE, PAGE } from "../../support/mock-domain.js";
import { kernelAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Pinning and scanning 128 MiB is slow under emulation. */
const LONG = { timeout: 600_000 };

interface DirtyVariant {
  readonly variant: string;
  readonly sizeBytes: number;
  readonly huge: boolean;
}

/** With the mock's pages of 2 KiB: bitmaps of half a byte, one byte, 4 and 8 bytes, two words and a half, pages of it. */
const variants: readonly DirtyVariant[] = [
  { variant: "domain_dirty8k", sizeBytes: 8 * KIB, huge: false },
  { variant: "domain_dirty16k", sizeBytes: 16 * KIB, huge: false },
  { variant: "domain_dirty64k", sizeBytes: 64 * KIB, huge: false },
  { variant: "domain_dirty128k", sizeBytes: 128 * KIB, huge: false },
  { variant: "domain_dirty320k", sizeBytes: 320 * KIB, huge: false },
  { variant: "domain_dirty64M", sizeBytes: 64 * MIB, huge: false },
  { variant: "domain_dirty64M_huge", sizeBytes: 64 * MIB, huge: true },
  { variant: "domain_dirty128M", sizeBytes: 128 * MIB, huge: false },
  { variant: "domain_dirty128M_huge", sizeBytes: 128 * MIB, huge: true },
];

/** An address space with a device, as the fixture has it. */
class Tracked implements Disposable {
  readonly iommufd = Iommufd.open();
  readonly ioas: Ioas = this.iommufd.allocIoas();
  readonly device: MockDevice;

  constructor(huge: boolean) {
    // Then every entry of the page table is of the CPU's page size, hence two of the mock's pages.
    if (!huge) this.ioas.hugePages = false;
    this.device = MockDevice.create(this.ioas);
  }

  [Symbol.dispose](): void {
    this.iommufd.close();
  }
}

describe.each(byVariant(variants))("dirty tracking [%s]", LONG, (_, { huge }) => {
  expectNothingLeft();

  test("refuses devices that can't track on tracked page tables [iommufd_dirty_tracking.enforce_dirty]", () => {
    using tracked = new Tracked(huge);
    const { iommufd, ioas, device } = tracked;
    using hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
    using able = MockDevice.create(hwpt);
    expect(able.hwptId).toBe(hwpt.id);
    expect(() => MockDevice.create(hwpt, { noDirty: true })).toThrow(sysError("IOMMU_TEST_CMD", "EINVAL"));
    able.close();
    hwpt.close();

    using other = iommufd.allocIoas();
    using unable = MockDevice.create(other, { noDirty: true });
    expect(iommufd.hwInfo(unable).dirtyTracking).toBe(false);
    expect(() => other.allocHwpt(unable, { dirtyTracking: true })).toThrow(
      sysError("IOMMU_HWPT_ALLOC", "EOPNOTSUPP"),
    );
    unable.close();
  });

  test("can be switched on and off [iommufd_dirty_tracking.set_dirty_tracking]", () => {
    using tracked = new Tracked(huge);
    const { iommufd, ioas, device } = tracked;
    using hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
    using second = MockDevice.create(hwpt);
    for (const enabled of [true, false, false, true, true, false]) {
      expect(() => hwpt.setDirtyTracking(enabled)).not.toThrow();
    }
    second.close();

    using plain = ioas.allocHwpt(device);
    expect(() => plain.setDirtyTracking(true)).toThrow(
      sysError("IOMMU_HWPT_SET_DIRTY_TRACKING", "EOPNOTSUPP"),
    );
    expect(() => plain.readDirty(mock.apertureStart, PAGE, PAGE)).toThrow(
      sysError("IOMMU_HWPT_GET_DIRTY_BITMAP", "EOPNOTSUPP"),
    );
    const unknownFlag = iommu_hwpt_set_dirty_tracking.encode({ hwpt_id: hwpt.id, flags: 2 });
    expect(kernelAnswer(iommufd.fd, IOMMU_HWPT_SET_DIRTY_TRACKING, unknownFlag)).toBe("EOPNOTSUPP");
  });

  test("works for a page table that is attached to a PASID [iommufd_dirty_tracking.pasid_set_dirty_tracking]", () => {
    const PASID = 100;
    using tracked = new Tracked(huge);
    const { iommufd, ioas, device } = tracked;
    using hwpt = ioas.allocHwpt(device, { pasid: true, dirtyTracking: true });
    using able = MockDevice.create(hwpt, { pasid: true });
    able.attachPasid(PASID, hwpt);
    able.checkPasid(PASID, hwpt);
    hwpt.setDirtyTracking(true);
    hwpt.setDirtyTracking(false);
    able.detachPasid(PASID);
    able.checkPasid(PASID, undefined);
    able.close();

    using other = iommufd.allocIoas();
    using unable = MockDevice.create(other, { pasid: true, noDirty: true });
    expect(() => unable.attachPasid(PASID, hwpt)).toThrow(sysError("IOMMU_TEST_CMD", "EINVAL"));
    unable.close();
  });

  test("is reported as a capability of the device's IOMMU [iommufd_dirty_tracking.device_dirty_capability]", () => {
    using tracked = new Tracked(huge);
    const { iommufd, ioas, device } = tracked;
    using hwpt = ioas.allocHwpt(device);
    using second = MockDevice.create(hwpt);
    expect(iommufd.hwInfo(device).dirtyTracking).toBe(true);
    expect(iommufd.hwInfo(second).dirtyTracking).toBe(true);
    second.close();
  });
});

/** Marks every second entry of the page table by its first page, as a device would. */
function writeEverySecond(hwpt: PagingHwpt, sizeBytes: number, entryBytes: number): void {
  const pages = sizeBytes / mock.pageSizeBytes;
  const stride = (2 * entryBytes) / mock.pageSizeBytes;
  using marks = MappedMemory.anonymous(Math.ceil(pages / 8));
  let count = 0;
  for (let page = 0; page < pages; page += stride) {
    marks.bytes[page >> 3] = (marks.bytes[page >> 3] ?? 0) | (1 << (page & 7));
    count++;
  }
  const marked = markDirty(hwpt, mock.apertureStart, sizeBytes, mock.pageSizeBytes, marks.address);
  expect(marked).toBe(BigInt(count));
}

/** Every second entry is dirty as a whole, and nothing else is. */
function expectEverySecond(dirty: DirtyBitmap, sizeBytes: number, entryBytes: number): void {
  const pages = sizeBytes / mock.pageSizeBytes;
  const entryPages = entryBytes / mock.pageSizeBytes;
  expect(dirty).toMatchObject({
    iova: mock.apertureStart,
    pageSizeBytes: mock.pageSizeBytes,
    pages,
    dirtyPages: Math.ceil(sizeBytes / (2 * entryBytes)) * entryPages,
  });
  const starts = Array.from(
    { length: Math.ceil(sizeBytes / (2 * entryBytes)) },
    (_, i) => 2 * i * entryBytes,
  );
  expect([...dirty.ranges()]).toEqual(
    starts.map((start) => ({ iova: mock.apertureStart + BigInt(start), sizeBytes: entryBytes })),
  );
  // The single pages too, where there are not too many to look at.
  for (let page = 0; page < Math.min(pages, 4096); page++) {
    if (dirty.isDirty(page) !== page % (2 * entryPages) < entryPages)
      throw new Error(`page ${page} is wrong`);
  }
  // The bits past the last page, up to a whole word, are nobody's.
  for (let bit = pages; bit < dirty.bits.length * 8; bit++) {
    if ((((dirty.bits[bit >> 3] ?? 0) >> (bit & 7)) & 1) !== 0) throw new Error(`bit ${bit} is set`);
  }
}

/** The same request with a bitmap at an address of our choice, which the API never asks for. */
function readDirtyAt(hwpt: PagingHwpt, sizeBytes: number, address: number, keep: boolean): string {
  const request = iommu_hwpt_get_dirty_bitmap.encode({
    hwpt_id: hwpt.id,
    flags: keep ? IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0,
    iova: mock.apertureStart,
    length: BigInt(sizeBytes),
    page_size: BigInt(mock.pageSizeBytes),
    data: BigInt(address),
  });
  return kernelAnswer(hwpt.iommufd.fd, IOMMU_HWPT_GET_DIRTY_BITMAP, request);
}

describe.each(byVariant(variants))("a dirty bitmap [%s]", LONG, (_, { sizeBytes, huge }) => {
  expectNothingLeft();

  const entryBytes = huge ? mock.hugePageSizeBytes : PAGE;
  const pages = sizeBytes / mock.pageSizeBytes;
  const data: DriverData = mockHwptData(0, huge);

  const read = (hwpt: PagingHwpt, keep: boolean): DirtyBitmap =>
    hwpt.readDirty(mock.apertureStart, sizeBytes, mock.pageSizeBytes, { keep });

  /** Reads through the API, and twice more with a bitmap where the API would never put it. */
  const sweep = (keep: boolean): void => {
    using tracked = new Tracked(huge);
    const { ioas, device } = tracked;
    using memory = MappedMemory.anonymous(sizeBytes, huge ? { hugePageBytes: HUGE_PAGE } : {});
    ioas.map(memory, { iova: mock.apertureStart });
    using hwpt = ioas.allocHwpt(device, { dirtyTracking: true, data });
    hwpt.setDirtyTracking(true);
    expect(read(hwpt, false).dirtyPages).toBe(0);

    writeEverySecond(hwpt, sizeBytes, entryBytes);
    expectEverySecond(read(hwpt, keep), sizeBytes, entryBytes);
    if (keep) expectEverySecond(read(hwpt, keep), sizeBytes, entryBytes);
    else expect(read(hwpt, keep).dirtyPages).toBe(0);

    // A page off the start of the CPU's page, and off any word.
    using bitmap = MappedMemory.anonymous(Math.ceil(pages / 8) + 2 * PAGE);
    for (const offset of [mock.pageSizeBytes, 0xff1]) {
      const bits = bitmap.bytes.subarray(offset, offset + Math.ceil(pages / 8));
      const look = (): DirtyBitmap =>
        new DirtyBitmap(mock.apertureStart, mock.pageSizeBytes, pages, Uint8Array.from(bits));
      writeEverySecond(hwpt, sizeBytes, entryBytes);
      bitmap.bytes.fill(0);
      expect(readDirtyAt(hwpt, sizeBytes, bitmap.address + offset, keep)).toBe("ok");
      expectEverySecond(look(), sizeBytes, entryBytes);
      bitmap.bytes.fill(0);
      expect(readDirtyAt(hwpt, sizeBytes, bitmap.address + offset, keep)).toBe("ok");
      if (keep) expectEverySecond(look(), sizeBytes, entryBytes);
      else expect(look().dirtyPages).toBe(0);
    }

    // Switching on again forgets.
    writeEverySecond(hwpt, sizeBytes, entryBytes);
    hwpt.setDirtyTracking(false);
    hwpt.setDirtyTracking(true);
    expect(read(hwpt, false).dirtyPages).toBe(0);
  };

  test("shows what was written to, and clears it [iommufd_dirty_tracking.get_dirty_bitmap]", () => {
    expect.hasAssertions();
    sweep(false);
  });

  test("can be read without clearing it [iommufd_dirty_tracking.get_dirty_bitmap_no_clear]", () => {
    expect.hasAssertions();
    sweep(true);
  });
});

describe("a dirty bitmap of the wrong form", () => {
  expectNothingLeft();

  test("is refused by the library or by the kernel", () => {
    using tracked = new Tracked(false);
    const { iommufd, ioas, device } = tracked;
    using memory = MappedMemory.anonymous(4 * PAGE);
    const at = ioas.map(memory, { iova: mock.apertureStart });
    using hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
    hwpt.setDirtyTracking(true);
    const argument = expect.objectContaining({ code: "ERR_IOVA_ARGUMENT" });
    expect(() => hwpt.readDirty(at, 0, PAGE)).toThrow(argument);
    expect(() => hwpt.readDirty(at, PAGE, 0)).toThrow(argument);
    expect(() => hwpt.readDirty(-1n, PAGE, PAGE)).toThrow(argument);
    expect(() => hwpt.readDirty(at + 1n, PAGE, PAGE)).toThrow(
      sysError("IOMMU_HWPT_GET_DIRTY_BITMAP", "EINVAL"),
    );
    expect(() => hwpt.readDirty(at, PAGE + 1, PAGE)).toThrow(
      sysError("IOMMU_HWPT_GET_DIRTY_BITMAP", "EINVAL"),
    );

    const valid = { hwpt_id: hwpt.id, iova: at, length: BigInt(PAGE), page_size: BigInt(PAGE) };
    const answer = (values: Parameters<typeof iommu_hwpt_get_dirty_bitmap.encode>[0]): string =>
      kernelAnswer(
        iommufd.fd,
        IOMMU_HWPT_GET_DIRTY_BITMAP,
        iommu_hwpt_get_dirty_bitmap.encode({ ...valid, ...values }),
      );
    expect(answer({ length: 0n })).toBe("EINVAL");
    expect(answer({ page_size: 0n })).toBe("EINVAL");
    expect(answer({ flags: 2 })).toBe("EOPNOTSUPP");
    expect(answer({ __reserved: 1 })).toBe("EOPNOTSUPP");
    expect(answer({ iova: 2n ** 64n - BigInt(PAGE), length: BigInt(2 * PAGE) })).toBe("EOVERFLOW");
    expect(answer({ hwpt_id: ioas.id })).toBe("ENOENT");
    hwpt.close();
    expect(() => hwpt.readDirty(at, PAGE, PAGE)).toThrow(
      expect.objectContaining({ code: "ERR_IOVA_CLOSED" }),
    );
    expect(() => hwpt.setDirtyTracking(true)).toThrow(expect.objectContaining({ code: "ERR_IOVA_CLOSED" }));
  });
});
