/** What a region's information says about mapping. */
import { expect, test } from "vitest";
import { canMap, decodeRegion, mappablePages } from "../../../src/vfio/region.js";
import {
  VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_FLAG_CAPS,
  VFIO_REGION_INFO_FLAG_MMAP,
  vfio_info_cap_header,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_sparse_mmap_area,
} from "../../../src/vfio/uapi.js";

const PAGE = 4096;

/** A region's information as a kernel gives it. */
function region(size: number, flags: number, capabilities: readonly Uint8Array[] = []) {
  const info = vfio_region_info.encode({
    argsz: vfio_region_info.sizeBytes + capabilities.reduce((sum, { length }) => sum + length, 0),
    flags: flags | (capabilities.length > 0 ? VFIO_REGION_INFO_FLAG_CAPS : 0),
    index: 4,
    cap_offset: capabilities.length > 0 ? vfio_region_info.sizeBytes : 0,
    size: BigInt(size),
  });
  return decodeRegion(Buffer.concat([info, ...capabilities]));
}

function sparse(...areas: readonly (readonly [number, number])[]): Uint8Array {
  return Buffer.concat([
    vfio_region_info_cap_sparse_mmap.encode({
      header: { id: VFIO_REGION_INFO_CAP_SPARSE_MMAP, version: 1, next: 0 },
      nr_areas: areas.length,
    }),
    ...areas.map(([offset, size]) =>
      vfio_region_sparse_mmap_area.encode({ offset: BigInt(offset), size: BigInt(size) }),
    ),
  ]);
}

test("a region without the flag can't be mapped", () => {
  const io = region(256, 0);
  expect([io.mappable, canMap(io, 0, 256), mappablePages(io)]).toEqual([[], false, []]);
});

test("a region with the flag can be mapped as a whole, also one that is smaller than a page", () => {
  const whole = region(4 * PAGE, VFIO_REGION_INFO_FLAG_MMAP);
  expect([whole.mappable, canMap(whole, PAGE, PAGE)]).toEqual([[{ offset: 0, sizeBytes: 4 * PAGE }], true]);
  expect(canMap(whole, 0, 5 * PAGE)).toBe(false);
  const small = region(256, VFIO_REGION_INFO_FLAG_MMAP);
  expect([canMap(small, 0, 256), mappablePages(small)]).toEqual([true, [{ offset: 0, sizeBytes: 256 }]]);
});

test("areas leave out the page of an MSI-X table, as kernels before 4.16 do", () => {
  const bar = region(4 * PAGE, VFIO_REGION_INFO_FLAG_MMAP, [sparse([0, 2 * PAGE], [3 * PAGE, PAGE])]);
  expect(bar.msixMappable).toBe(false);
  expect(mappablePages(bar)).toEqual([
    { offset: 0, sizeBytes: 2 * PAGE },
    { offset: 3 * PAGE, sizeBytes: PAGE },
  ]);
  expect([0, 1, 2, 3].map((page) => canMap(bar, page * PAGE, PAGE))).toEqual([true, true, false, true]);
  expect(canMap(bar, 0, 4 * PAGE)).toBe(false);
});

test("a table that may be mapped is told", () => {
  const capability = vfio_info_cap_header.encode({
    id: VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
    version: 1,
    next: 0,
  });
  const bar = region(4 * PAGE, VFIO_REGION_INFO_FLAG_MMAP, [capability]);
  expect([bar.msixMappable, canMap(bar, 0, 4 * PAGE)]).toEqual([true, true]);
});

test("an area that ends within a page has only its whole pages mapped, and one without a whole page none", () => {
  const bar = region(4 * PAGE, VFIO_REGION_INFO_FLAG_MMAP, [
    sparse([0x800, 0x1800], [0x2100, 0x200], [0x2800, 0x1800]),
  ]);
  expect(mappablePages(bar)).toEqual([
    { offset: PAGE, sizeBytes: PAGE },
    { offset: 3 * PAGE, sizeBytes: PAGE },
  ]);
  expect(mappablePages(region(PAGE, VFIO_REGION_INFO_FLAG_MMAP, [sparse([2 * PAGE, PAGE])]))).toEqual([]);
});
