/** `iova reset` and `iova sriov`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { bindToVfio } from "../../../src/index.js";
import { driverOf, readPciFunction } from "../../../src/pci/sysfs.js";
import { Child, runChild } from "../../support/child.js";
import { nvmeBdf, sriovNvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { kernelDisk } from "../../support/kernel-disk.js";
import { provoke } from "../../support/provoke.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const iova = (...args: string[]): Promise<Child> => runChild(cli, ...args);

describe("iova reset", () => {
  test("says how, resets an idle function, and its driver starts it again", async () => {
    const disk = await kernelDisk(nvmeBdf());
    const order = `/sys/bus/pci/devices/${nvmeBdf()}/reset_method`;
    const methods = readFileSync(order, "utf8");
    const dry = JSON.parse((await iova("reset", nvmeBdf(), "--dry-run", "--json")).stdout);
    expect(dry).toEqual({
      bdf: nvmeBdf(),
      methods: methods.trim().split(" "),
      alsoAffected: [],
      reset: false,
    });
    const [method = ""] = dry.methods;
    const { stdout, stderr } = await iova("reset", nvmeBdf(), "--method", method);
    expect(stderr).toBe("");
    expect(stdout).toMatch(
      new RegExp(`^${nvmeBdf()} was reset by ${method} \\(.*; it affects no other function\n$`),
    );
    expect(readFileSync(order, "utf8")).toBe(methods);
    expect(await kernelDisk(nvmeBdf())).toBe(disk);
  });

  test("is refused while a process has the function open, and for a method that it lacks", async () => {
    expect((await iova("reset", nvmeBdf(), "--method", "acpi")).stderr).toContain(
      'has no reset method "acpi"',
    );
    const binding = bindToVfio(nvmeBdf());
    const child = new Child(guestProgram("nvme-endless"), nvmeBdf(), JSON.stringify({ backend: "iommufd" }));
    try {
      await child.says("running");
      expect((await iova("reset", nvmeBdf())).stderr).toContain(`open in process ${child.pid}`);
    } finally {
      child.kill();
      await child.ended;
    }
    binding.close();
  });
});

describe("iova sriov", () => {
  test("sets the number, changes it, and 0 removes them", async () => {
    const pf = sriovNvmeBdf();
    expect((await iova("sriov", pf)).stdout).toBe(`${pf} has 0 of 2 virtual functions\n`);
    expect((await iova("sriov", pf, "2", "--driver", "vfio-pci")).stdout).toContain(
      `${pf} has 2 of 2 virtual functions: `,
    );
    expect(readPciFunction(pf).virtualFunctions.map(driverOf)).toEqual(["vfio-pci", "vfio-pci"]);
    // The kernel's own driver asks it, but only its owner can bring it online.
    provoke("pci_nvme_err_ignored_mmio_vf_offline");
    expect((await iova("sriov", pf, "1")).stdout).toContain(`${pf} has 1 of 2 virtual functions: `);
    expect((await iova("sriov", pf, "3")).stderr).toContain("can have at most 2 virtual functions, got 3");
    expect((await iova("sriov", pf, "0")).stdout).toBe(`${pf} has 0 of 2 virtual functions\n`);
  });
});
