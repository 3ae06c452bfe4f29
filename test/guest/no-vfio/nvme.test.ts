/** An NVMe controller on a kernel without VFIO: what asks for it is told what the kernel lacks, and nothing is changed. */

import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { bindToVfio, NvmeController, PciDevice, UnsupportedError } from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { caught } from "../../support/caught.js";
import { nvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { kernelDisk, readDisk } from "../../support/kernel-disk.js";
import { runNode } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");

expectNothingLeftSoon();

/** Whatever was refused: the kernel's driver has its disk. */
afterEach(async () => {
  expect(driverOf(nvmeBdf())).toBe("nvme");
  expect(readDisk(await kernelDisk(nvmeBdf()), 0, 4096)).toHaveLength(4096);
});

describe("an NVMe controller on a kernel without VFIO", () => {
  test("isn't taken from the kernel's driver, and the error says what the kernel lacks", () => {
    const bind = (): unknown => bindToVfio(nvmeBdf());
    expect(bind).toThrow(UnsupportedError);
    expect(bind).toThrow(/kernel module vfio-pci .*`npx iova doctor` says whether this kernel has it/);
  });

  test("is refused by every backend with its reason", async () => {
    const error = await caught(NvmeController.open(nvmeBdf()));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toMatch(/iommufd: .*; type1: /);
    expect(() => PciDevice.open(nvmeBdf())).toThrow(UnsupportedError);
  });

  test("doesn't keep iommufd from working without devices", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    expect(ioas.iovaRanges().ranges.length).toBeGreaterThan(0);
  });

  test.each([["bind"], ["nvme", "identify"], ["compare"]])(
    "is refused by iova %s in sentences",
    async (...words) => {
      const { status, stderr } = await runNode(cli, ...words, nvmeBdf());
      expect(status).toBe(1);
      expect(stderr).toMatch(/VFIO|vfio/);
      expect(stderr).not.toMatch(/^ {4}at /m);
    },
  );
});
