/** Huge pages of an IOAS, and the alignment without them. */
import { describe, expect, test } from "vitest";
import { IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_SET } from "../../../src/iommufd/uapi.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { sharedBuffer } from "../../support/ioas-buffer.js";
import { IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { mock } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { byVariant } from "../../support/variants.js";

const buffer = sharedBuffer();
expectNothingLeft();

describe.each(byVariant(ioasVariants))("an address space [%s]", (_, variant) => {
  test("uses huge pages unless they are switched off [iommufd_ioas.ioas_option_huge_pages]", () => {
    using scene = new IoasScene(variant);
    const { iommufd, ioas } = scene;
    expect(ioas.hugePages).toBe(true);
    ioas.hugePages = false;
    expect(ioas.hugePages).toBe(false);
    const neither = (): bigint => iommufd.option(IOMMU_OPTION_OP_SET, IOMMU_OPTION_HUGE_PAGES, ioas.id, 2n);
    expect(neither).toThrow(sysError("IOMMU_OPTION", "EINVAL"));
    expect(ioas.hugePages).toBe(false);
    ioas.hugePages = true;
    expect(ioas.hugePages).toBe(true);
  });

  test("requires whole pages if it must not use huge ones [iommufd_ioas.ioas_align_change]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    const page = { address: buffer().address, sizeBytes: PAGE };
    const crooked = { address: page.address + mock.pageSizeBytes, sizeBytes: PAGE };
    const [first, second] = [mock.apertureStart, mock.apertureStart + BigInt(PAGE)];
    const forbid = (): void => {
      ioas.hugePages = false;
    };
    ioas.map(page, { iova: first });
    if (variant.devices > 0) {
      // It is in a page table already.
      expect(forbid).toThrow(sysError("IOMMU_OPTION", "EINVAL"));
      expect(ioas.hugePages).toBe(true);
      return;
    }
    forbid();
    expect(() => ioas.map(crooked, { iova: second })).toThrow(sysError("IOMMU_IOAS_MAP", "EINVAL"));
    // Once more changes nothing.
    forbid();
    ioas.hugePages = true;
    ioas.map(crooked, { iova: second });
    expect(forbid).toThrow(sysError("IOMMU_OPTION", "EADDRINUSE"));
    expect(ioas.hugePages).toBe(true);
    expect(ioas.unmap(second, PAGE) + ioas.unmap(first, PAGE)).toBe(2 * PAGE);
  });
});
