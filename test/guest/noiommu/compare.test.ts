/** `iova compare` where there is no IOMMU: one way is left, and the others say why not. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compare } from "../../../src/cli/compare/compare.js";
import { bindToVfio, type VfioBinding } from "../../../src/index.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

describe("`iova compare` without an IOMMU", () => {
  expectNothingLeft();

  test("measures only no-IOMMU mode", async () => {
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
    // Physical memory that edu's 28 bits reach may be had or not.
    const [opening] = report.opening;
    const why = report.notMeasured.find(({ what }) => what === "time to the first DMA");
    expect(opening?.toFirstDma === null).toBe(why !== undefined);
  });

  test("reads from an NVMe controller by physical addresses", async () => {
    const report = await compare({ bdf: nvmeBdf(), quick: true });
    expect(report.nvme).toMatchObject([{ backend: "noiommu", readBytes: 4096 }]);
    expect(report.nvme[0]?.latency.samples).toBe(200);
    expect(report.opening[0]?.toFirstDma?.samples).toBe(2);
  });
});
