/** `--json` of `iova bind`, `iova unbind` and `iova sriov`. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { nvmeBdf } from "../../support/functions.js";
import { kernelDisk } from "../../support/kernel-disk.js";
import { runNode } from "../../support/run.js";

async function json(...args: string[]): Promise<unknown> {
  const cli = join(packageRoot(), "dist", "lib", "cli.js");
  const { status, stdout, stderr } = await runNode(cli, ...args, "--json");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(stdout);
}

test("bind and unbind print what became of each function as JSON, and what would", async () => {
  const bdf = nvmeBdf();
  const bound = { bdf, before: "nvme", driver: "vfio-pci", module: "vfio-pci", bound: true };
  const unbound = { bdf, before: "vfio-pci", driver: "nvme", unbound: true, boundAtStart: false };
  expect(await json("bind", bdf, "--dry-run")).toEqual([{ ...bound, bound: false }]);
  expect(driverOf(bdf)).toBe("nvme");
  expect(await json("bind", bdf)).toEqual([bound]);
  expect(driverOf(bdf)).toBe("vfio-pci");
  const { driver: _, ...planned } = unbound;
  expect(await json("unbind", bdf, "--dry-run")).toEqual([{ ...planned, unbound: false }]);
  expect(driverOf(bdf)).toBe("vfio-pci");
  expect(await json("unbind", bdf)).toEqual([unbound]);
  await kernelDisk(bdf);
});

test("bind --persist --dry-run prints its steps as JSON", async () => {
  expect(await json("bind", nvmeBdf(), "--persist", "--dry-run")).toMatchObject([
    { steps: expect.arrayContaining([expect.objectContaining({ kind: expect.any(String) })]) },
  ]);
});

test("sriov prints a function's virtual functions as JSON", async () => {
  const bdf = nvmeBdf();
  expect(await json("sriov", bdf)).toEqual({ bdf, virtualFunctions: [], maxVirtualFunctions: 0 });
});
