/** vfio_dma_mapping_test.c and vfio_dma_mapping_mmio_test.c of the kernel's self-tests, in our words. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { VfioDevice } from "../../../src/doors/vfio.js";
import { bindToVfio, DmaSpace, MappedMemory, type VfioBinding } from "../../../src/index.js";
import { sysError } from "../../support/errors.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { intelTableWalk } from "../../support/intel-page-table.js";
import { isVersion1, mapsBars, openMode, type VfioModeSpace, vfioModes } from "../../support/vfio-modes.js";

const PAGE = 4096;
const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  bindings.push(bindToVfio(nvmeBdf()));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

const kinds = [
  { name: "anonymous", sizeBytes: PAGE, level: "pte" },
  { name: "anonymous_hugetlb_2mb", sizeBytes: 2 * MIB, level: "pmd" },
  { name: "anonymous_hugetlb_1gb", sizeBytes: GIB, level: "pud" },
] as const;

describe.each(vfioModes)("DMA mappings by %s", (mode) => {
  expectNothingLeft();

  test.each(kinds)(
    "$name memory is in the IOMMU's table while it is mapped, in pages of its own size " +
      "[vfio_dma_mapping_test.dma_map_unmap]",
    ({ sizeBytes, level }) => {
      using space = openMode(mode);
      using opened = space.open(nvmeBdf());
      using memory = MappedMemory.anonymous(sizeBytes, sizeBytes > PAGE ? { hugePageBytes: sizeBytes } : {});
      expect(memory.sizeBytes).toBe(sizeBytes);
      const at = BigInt(4 * GIB);
      space.map(memory, at);
      // Version 1 uses small pages for everything, so that an unmap may cut anywhere: its table says nothing here.
      if (!isVersion1(mode)) {
        const walk = intelTableWalk(nvmeBdf(), at);
        if (walk === undefined) throw new Error("the IOMMU's table has no entry for the mapping");
        expect(walk[level]).not.toBe(0n);
        const below = { pud: [walk.pmd, walk.pte], pmd: [walk.pte], pte: [] }[level];
        expect(below.every((entry) => entry === 0n)).toBe(true);
      }
      expect(space.unmap(at, sizeBytes)).toBe(sizeBytes);
      expect(intelTableWalk(nvmeBdf(), at)).toBeUndefined();
      expect(opened.device.info().isPci).toBe(true);
    },
  );

  test("are known to the address space until it is closed [vfio_dma_mapping_test.dma_map_unmap]", () => {
    using space = openMode(mode);
    using _opened = space.open(nvmeBdf());
    using dma = new DmaSpace(space.mapper());
    const buffer = dma.alloc(PAGE);
    const at = buffer.iova;
    expect(intelTableWalk(nvmeBdf(), at)).toBeDefined();
    buffer.close();
    expect(intelTableWalk(nvmeBdf(), at)).toBeUndefined();
  });
});

describe.each(vfioModes)("the last page an IOMMU can map, by %s", (mode) => {
  expectNothingLeft();

  function lastPage(ranges: readonly { readonly last: bigint }[]): bigint {
    const last = ranges.at(-1)?.last;
    if (last === undefined) throw new Error("nothing can be mapped");
    return last & ~BigInt(PAGE - 1);
  }

  test("can be mapped, and unmapped by its range [vfio_dma_map_limit_test.unmap_range]", () => {
    using space = openMode(mode);
    using _opened = space.open(nvmeBdf());
    using memory = MappedMemory.anonymous(PAGE);
    const at = lastPage(space.iovaRanges());
    space.map(memory, at);
    expect(() => space.map(memory, at)).toThrow(sysError(space.mapCall, "EEXIST"));
    expect(space.unmap(at, PAGE)).toBe(PAGE);
  });

  test("can be unmapped with all mappings [vfio_dma_map_limit_test.unmap_all]", () => {
    using space = openMode(mode);
    using _opened = space.open(nvmeBdf());
    using memory = MappedMemory.anonymous(PAGE);
    const at = lastPage(space.iovaRanges());
    space.map(memory, at);
    expect(space.unmapAll()).toBe(BigInt(PAGE));
    // There is room again.
    space.map(memory, at);
    expect(space.unmapAll()).toBe(BigInt(PAGE));
  });

  test("is the last: a range beyond it is refused [vfio_dma_map_limit_test.overflow]", () => {
    using space = openMode(mode);
    using _opened = space.open(nvmeBdf());
    using memory = MappedMemory.anonymous(2 * PAGE);
    const at = 0xffff_ffff_ffff_ffffn & ~BigInt(PAGE - 1);
    expect(() => space.map(memory, at)).toThrow(sysError(space.mapCall, "EOVERFLOW"));
    expect(() => space.unmap(at, 2 * PAGE)).toThrow(sysError(space.unmapCall, "EOVERFLOW"));
  });
});

describe.each(vfioModes)("a BAR as memory for DMA, by %s", (mode) => {
  expectNothingLeft();

  const AT = BigInt(8 * GIB);

  /** The largest BAR that is mapped for reading and writing. */
  function largestBar(device: VfioDevice): { index: number; sizeBytes: number } {
    const bars = [0, 1, 2, 3, 4, 5].map((index) => device.regionInfo(index));
    const mappable = bars.filter(
      ({ readable, writable, mappable, sizeBytes }) =>
        readable && writable && mappable.some((area) => area.sizeBytes === sizeBytes),
    );
    const [largest] = mappable.sort((a, b) => b.sizeBytes - a.sizeBytes);
    if (largest === undefined) throw new Error("no BAR can be mapped");
    return largest;
  }

  function check(memory: MappedMemory, space: VfioModeSpace, sizeBytes: number): void {
    const range = { address: memory.address, sizeBytes };
    if (mapsBars(mode)) {
      space.map(range, AT);
      expect(intelTableWalk(nvmeBdf(), AT)).toBeDefined();
      expect(space.unmap(AT, sizeBytes)).toBe(sizeBytes);
    } else {
      expect(() => space.map(range, AT)).toThrow(sysError(space.mapCall, "EFAULT"));
    }
    expect(intelTableWalk(nvmeBdf(), AT)).toBeUndefined();
  }

  test("can be mapped whole [vfio_dma_mapping_mmio_test.map_full_bar]", () => {
    using space = openMode(mode);
    using opened = space.open(nvmeBdf());
    const bar = largestBar(opened.device);
    using memory = opened.device.mapRegion(bar.index, 0, bar.sizeBytes);
    check(memory, space, bar.sizeBytes);
  });

  test("can be mapped in part [vfio_dma_mapping_mmio_test.map_partial_bar]", () => {
    using space = openMode(mode);
    using opened = space.open(nvmeBdf());
    const bar = largestBar(opened.device);
    expect(bar.sizeBytes).toBeGreaterThanOrEqual(2 * PAGE);
    using memory = opened.device.mapRegion(bar.index, 0, bar.sizeBytes);
    check(memory, space, PAGE);
  });

  test("can be mapped at an address that no large page fits [vfio_dma_mapping_mmio_test.map_bar_misaligned]", () => {
    using space = openMode(mode);
    using opened = space.open(nvmeBdf());
    const { device } = opened;
    const bar = largestBar(device);
    // Ranges of addresses are handed out one after the other: after one page there is one that is aligned to no more.
    let memory = device.mapRegion(bar.index, 0, bar.sizeBytes);
    while (memory.address % (2 * MIB) === 0) {
      memory.close();
      device.mapRegion(bar.index, 0, PAGE).close();
      memory = device.mapRegion(bar.index, 0, bar.sizeBytes);
    }
    check(memory, space, bar.sizeBytes);
    memory.close();
    expect(memory.closed).toBe(true);
  });
});
