/** `iova compare` where there is no IOMMU: one way is left, and the others say why not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compare } from "../../../src/compare/compare.js";
import { bindToVfio, type VfioBinding } from "../../../src/index.js";
import { eduBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

describe("compare without an IOMMU", () => {
  expectNothingLeft();

  it("measures no-IOMMU mode alone", { timeout: 300_000 }, async () => {
    const report = await compare({ bdf: eduBdf(), quick: true });
    expect(report.backends.map(({ name, available }) => [name, available])).toEqual([
      ["iommufd", false],
      ["type1", false],
      ["iommufd-compat", false],
      ["noiommu", true],
    ]);
    expect(report.backends.every(({ available, reason }) => available === (reason === null))).toBe(true);
    expect(report.mapping.some(({ backend, sizeBytes }) => backend === "noiommu" && sizeBytes === 4096)).toBe(
      true,
    );
    expect(report.findings[0]).toBe("This device can be reached through noiommu only.");
  });
});
