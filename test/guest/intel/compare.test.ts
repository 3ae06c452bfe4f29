/** `iova compare` on the guest's devices, quickly: that every number is there and makes sense, not what it is. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compare } from "../../../src/cli/compare/compare.js";
import { renderHtml } from "../../../src/cli/compare/html.js";
import { type CompareReport, reportSchema } from "../../../src/cli/compare/report.js";
import { BusyError, bindToVfio, PciDevice, UnsupportedError, type VfioBinding } from "../../../src/index.js";
import { eduBdf, emptyBarBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";

/** Only ends what hangs: emulated, on a busy host, a quick run takes half a minute. */
const HANG_MS = 900_000;
const KIB = 1024;
const MIB = 1024 * KIB;
const IOVA = fileURLToPath(new URL("../../../dist/src/cli/main.js", import.meta.url));

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [nvmeBdf(), eduBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

/** What has to hold for every device that both have. */
function expectPlausible(report: CompareReport): void {
  expect(reportSchema.parse(report)).toEqual(report);
  const byName = Object.fromEntries(report.backends.map(({ name, available }) => [name, available]));
  expect(byName).toEqual({ iommufd: true, type1: true, "iommufd-compat": true, noiommu: false });
  expect(report.quick).toBe(true);
  expect(report.opening.map(({ backend }) => backend)).toEqual(["iommufd", "type1", "iommufd-compat"]);
  for (const backend of ["iommufd", "type1", "iommufd-compat"] as const) {
    const sizes = report.mapping.filter((each) => each.backend === backend && each.pageBytes === 4 * KIB);
    expect(sizes.map(({ sizeBytes }) => sizeBytes)).toEqual([4 * KIB, 64 * KIB, 2 * MIB]);
    for (const { bareMap, bareUnmap, libraryMap, libraryUnmap, libraryCost } of sizes) {
      for (const { samples, min, p25, median, p75, p99, max } of [
        bareMap,
        bareUnmap,
        libraryMap,
        libraryUnmap,
      ]) {
        expect(samples).toBeGreaterThan(0);
        expect(min).toBeGreaterThan(0);
        expect([min, p25, median, p75, p99, max]).toEqual(
          [min, p25, median, p75, p99, max].sort((a, b) => a - b),
        );
      }
      const sum = libraryMap.median + libraryUnmap.median - bareMap.median - bareUnmap.median;
      expect(libraryCost).toBeCloseTo(sum, 3);
    }
    expect(report.manyOrOne.some((each) => each.backend === backend)).toBe(true);
    expect(report.unmapAll.find((each) => each.backend === backend)?.inOneCall).not.toBeNull();
  }
  // Huge pages of 2 MiB are there on this machine, and 2 MiB is the largest size of a quick run.
  expect(report.mapping.filter(({ pageBytes }) => pageBytes === 2 * MIB)).toHaveLength(3);

  const account = (backend: string) => report.accounting.find((each) => each.backend === backend);
  const pinned = (pinnedBytes: number) => ({ pinnedBytes, lockedBytes: 0 });
  const locked = (lockedBytes: number) => ({ pinnedBytes: 0, lockedBytes });
  expect(account("iommufd")).toMatchObject({
    once: pinned(MIB),
    twice: pinned(2 * MIB),
    copied: pinned(MIB),
  });
  expect(account("type1")).toMatchObject({ once: locked(MIB), twice: locked(2 * MIB), copied: null });

  const methods = (backend: string) =>
    report.secondSpace.filter((each) => each.backend === backend).map(({ method }) => method);
  expect(methods("iommufd")).toEqual(["map-again", "copy", "attach"]);
  expect(methods("type1")).toEqual(["map-again", "attach"]);

  const feature = (name: string) => report.features.find((each) => each.name === name)?.values;
  expect(feature("Copy mappings to another address space")).toEqual({
    iommufd: "yes",
    type1: "no",
    "iommufd-compat": "no",
  });
  expect(feature("What the IOMMU is")?.iommufd).toBe("intel-vtd");
  // The kernel makes page tables for both, but neither QEMU's IOMMU nor these devices have them.
  expect(feature("Page tables of one's own")?.iommufd).toBe("yes");
  expect(feature("PASIDs")?.iommufd).toBe("no");
  expect(feature("I/O page faults")?.iommufd).toBe("no");
  expect(feature("Device: page requests (ATS and PRI)")?.type1).toBe("no");
  expect(feature("Limit on mappings")?.type1).toBe("65,535");
  expect(report.notMeasured.map(({ what }) => what)).not.toContain("accounting of pinned memory");
  expect(report.findings.length).toBeGreaterThan(5);
  expect(report.machine.hypervisor).toContain("TCG");
}

describe("compare", () => {
  expectNothingLeft();

  test("measures an NVMe controller through every backend", { timeout: HANG_MS }, async () => {
    const before = holdings();
    const progress: number[] = [];
    // Left to itself it takes the first that is bound.
    const report = await compare({
      quick: true,
      onProgress: (_what, done) => progress.push(done),
    });
    expect(holdings()).toEqual(before);
    expectPlausible(report);
    expect(report.device).toMatchObject({ bdf: nvmeBdf(), classCode: 0x010802 });
    expect(report.secondDevice).toBe(eduBdf());
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBe(1);
    for (const backend of ["iommufd", "type1", "iommufd-compat"]) {
      const reads = report.nvme.find((each) => each.backend === backend);
      expect(reads).toMatchObject({ readBytes: 4 * KIB, depth: 32 });
      expect(reads?.latency.samples).toBe(200);
      expect(reads?.readsPerSecond.min).toBeGreaterThan(0);
      const opening = report.opening.find((each) => each.backend === backend);
      expect(opening?.toFirstDma?.samples).toBe(2);
    }
    expect(renderHtml(report)).not.toMatch(/NaN|undefined|Infinity/);
  });

  test("prints JSON about edu, which has DMA but no queues to read from", {
    timeout: HANG_MS,
  }, async () => {
    const args = [IOVA, "compare", eduBdf(), "--quick", "--json"];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args);
    // No terminal, so no progress.
    expect(stderr).toBe("");
    const report = reportSchema.parse(JSON.parse(stdout));
    expectPlausible(report);
    expect(report.device.bdf).toBe(eduBdf());
    expect(report.nvme).toEqual([]);
    for (const { toFirstDma } of report.opening) {
      expect(toFirstDma?.samples).toBe(2);
      // The device itself waits as long before it begins.
      expect(toFirstDma?.min).toBeGreaterThan(90e6);
    }
    // The child has gone; whoever comes next can have the device.
    PciDevice.open(eduBdf()).close();
  });

  test("leaves a function alone that isn't bound to vfio-pci, and says how to bind it", async () => {
    const attempt = compare({ bdf: emptyBarBdf(), quick: true });
    await expect(attempt).rejects.toThrow(UnsupportedError);
    await expect(attempt).rejects.toThrow(`sudo iova bind ${emptyBarBdf()}`);
  });

  test("leaves a function alone that another process has open", async () => {
    using _device = PciDevice.open(eduBdf());
    const attempt = compare({ bdf: eduBdf(), quick: true });
    await expect(attempt).rejects.toThrow(BusyError);
    await expect(attempt).rejects.toThrow(`process ${process.pid}`);
  });
});
