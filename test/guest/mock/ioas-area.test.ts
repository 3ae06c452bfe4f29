/** Mappings of an IOAS: overlaps, partial unmapping and copies. */
import { describe, expect, test } from "vitest";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { BUFFER_BYTES, sharedBuffer } from "../../support/ioas-buffer.js";
import { IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { mock } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { sysAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const buffer = sharedBuffer();
expectNothingLeft();

/** The first pages of the buffer. */
const pages = (count: number) => ({ address: buffer().address, sizeBytes: count * PAGE });
const offset = (page: number): bigint => BigInt(page * PAGE);

describe.each(byVariant(ioasVariants))("a mapping [%s]", (_, variant) => {
  test("can't be overlapped, and can't be unmapped in part [iommufd_ioas.area]", () => {
    using scene = new IoasScene(variant);
    const { ioas, base } = scene;
    const ten = Array.from({ length: 10 }, (_page, i) => i);
    const nothingThere = sysError("IOMMU_IOAS_UNMAP", "ENOENT");
    for (const page of ten) expect(() => ioas.unmap(offset(page), PAGE)).toThrow(nothingThere);
    for (const page of ten) ioas.map(pages(1), { iova: base + offset(page) });
    for (const page of ten) expect(ioas.unmap(base + offset(page), PAGE)).toBe(PAGE);

    expect(ioas.map(pages(2), { iova: base + offset(16) })).toBe(base + offset(16));
    for (const page of [16, 17]) expect(() => ioas.unmap(base + offset(page), PAGE)).toThrow(nothingThere);
    const over = [
      { page: 16, count: 2 },
      { page: 16, count: 1 },
      { page: 17, count: 1 },
      { page: 15, count: 2 },
      { page: 15, count: 3 },
    ];
    for (const { page, count } of over) {
      expect(() => ioas.map(pages(count), { iova: base + offset(page) })).toThrow(
        sysError("IOMMU_IOAS_MAP", "EEXIST"),
      );
    }

    expect(ioas.unmapAll()).toBe(offset(2));
    expect(ioas.unmapAll()).toBe(0n);
  });

  test("is unmapped only by a range that contains it [iommufd_ioas.unmap_fully_contained_areas]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    // Room before the first.
    const base = scene.base + offset(4);
    for (let i = 0; i < 4; i++) ioas.map(pages(8), { iova: base + offset(16 * i) });

    const cut = sysError("IOMMU_IOAS_UNMAP", "ENOENT");
    expect(() => ioas.unmap(base - offset(4), 8 * PAGE)).toThrow(cut);
    expect(() => ioas.unmap(base + offset(3 * 16 + 8 - 4), 8 * PAGE)).toThrow(cut);

    const all = 4 + 3 * 16 + 8;
    expect(ioas.unmap(base - offset(4), all * PAGE)).toBe(4 * 8 * PAGE);
  });

  test("can be copied within its address space and to another [iommufd_ioas.copy_area]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas, base } = scene;
    ioas.map(pages(1), { iova: base });
    const copy = { iova: base + offset(1), access: "write" } as const;
    expect(ioas.copyFrom(ioas, base, PAGE, copy)).toBe(base + offset(1));
    using other = iommufd.allocIoas();
    expect(other.copyFrom(ioas, base, PAGE, { iova: 0n, access: "write" })).toBe(0n);
    expect(other.unmapAll()).toBe(offset(1));
    expect(ioas.unmapAll()).toBe(offset(2));
  });

  test("can be copied from any place in it, and from no other [iommufd_ioas.copy_sweep]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas } = scene;
    using destination = iommufd.allocIoas();
    const start = mock.apertureStart;
    // Without a device a length may be odd.
    const length = variant.devices > 0 ? BUFFER_BYTES : BUFFER_BYTES - 1;
    ioas.map({ address: buffer().address, sizeBytes: length }, { iova: start });

    const copied = mock.pageSizeBytes;
    const wrong: string[] = [];
    for (let from = -PAGE; from < length; from += 511) {
      const inside = from >= 0 && from + copied <= length;
      const answer = sysAnswer(() => {
        destination.copyFrom(ioas, start + BigInt(from), copied, { iova: start, access: "write" });
        destination.unmap(start, copied);
      });
      if (answer !== (inside ? "ok" : "ENOENT")) wrong.push(`${from}: ${answer}`);
    }
    expect(wrong).toEqual([]);
  });
});
