/** An NVMe controller on a host without an IOMMU. */
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  BindError,
  bindToVfio,
  NvmeController,
  readPciFunction,
  SysError,
  UnsupportedError,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { kernelDisk, readDisk } from "../../support/kernel-disk.js";
import { backends } from "../../support/nvme-machine.js";

expectNothingLeftSoon();

/** Whatever was refused: the kernel's driver has its disk. */
afterEach(async () => {
  const override = readFileSync(`/sys/bus/pci/devices/${nvmeBdf()}/driver_override`, "utf8").trim();
  expect(override).toBe("(null)");
  expect(readPciFunction(nvmeBdf()).driver).toBe("nvme");
  expect(readDisk(await kernelDisk(nvmeBdf()), 0, 4096)).toHaveLength(4096);
});

describe("an NVMe controller on a host without an IOMMU", () => {
  test("can't be opened, and the error has every backend's reason", async () => {
    const reasons = await Promise.all(
      backends.map((backend) => caught(NvmeController.open(nvmeBdf(), { backend }))),
    );
    for (const reason of reasons) expect(reason).toBeInstanceOf(UnsupportedError);
    const error = await caught(NvmeController.open(nvmeBdf()));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toBe(
      `${nvmeBdf()} can't be opened through any backend. ` +
        `iommufd: ${reasons[0]?.message}; type1: ${reasons[1]?.message}`,
    );
    expect(reasons[1]?.message).toContain("has no IOMMU group: the IOMMU is switched off or absent");
  });

  test("is refused by vfio-pci, and everything is restored", () => {
    const bind = (): unknown => bindToVfio(nvmeBdf());
    expect(bind).toThrow(BindError);
    expect(bind).toThrow(`${nvmeBdf()} should be bound to vfio-pci but is bound to no driver`);
  });
});

describe("an NVMe controller with the kernel's no-IOMMU mode switched on", () => {
  const mode = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
  beforeEach(() => writeFileSync(mode, "1\n"));
  afterEach(() => writeFileSync(mode, "0\n"));

  test("can be bound, but isn't opened by a backend that needs an IOMMU", async () => {
    using _binding = bindToVfio(nvmeBdf());
    // The kernel would let iommufd have it, and the controller would write to physical addresses.
    const throughIommufd = await caught(NvmeController.open(nvmeBdf(), { backend: "iommufd" }));
    expect(throughIommufd).toBeInstanceOf(UnsupportedError);
    expect(throughIommufd.message).toContain(`${nvmeBdf()} has no IOMMU`);
    const throughType1 = await caught(NvmeController.open(nvmeBdf(), { backend: "type1" }));
    expect(throughType1).toBeInstanceOf(SysError);
  });
});
