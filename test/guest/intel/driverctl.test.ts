/** `iova bind --persist` on a host with driverctl: Debian's driverctl reads what iova wrote. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { driverctl, overrides, useBuiltInModules } from "../../support/driverctl.js";
import { nvmeBdf } from "../../support/functions.js";
import { kernelDisk } from "../../support/kernel-disk.js";
import { runNode } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");

async function iova(...args: string[]): Promise<void> {
  const { status, stderr } = await runNode(cli, ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

useBuiltInModules();
afterEach(async () => {
  await iova("restore");
  rmSync("/var/lib/iova", { recursive: true, force: true });
});

test("driverctl lists a function that iova bound persistently, and binds it again as at a start", async () => {
  const bdf = nvmeBdf();
  const file = `/etc/driverctl.d/pci-${bdf}`;
  expect(overrides(bdf)).toEqual([]);
  await iova("bind", bdf, "--persist");
  expect(readFileSync(file, "utf8")).toBe("vfio-pci\n");
  expect(overrides(bdf)).toEqual([`${bdf} vfio-pci`]);

  // As after a start: the kernel's driver has the function, and the file is all that is left.
  await iova("unbind", bdf);
  expect(driverOf(bdf)).toBe("nvme");
  expect(overrides(bdf)).toEqual([]);
  // The rule of driverctl's package wants its service, which calls the program with this argument.
  const event = execFileSync("udevadm", ["test", "--action=add", `/sys/bus/pci/devices/${bdf}`], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  expect(event).toContain(`SYSTEMD_WANTS=driverctl@pci-${bdf}.service`);
  driverctl("load-override", `pci/${bdf}`);
  expect(driverOf(bdf)).toBe("vfio-pci");
  expect(overrides(bdf)).toEqual([`${bdf} vfio-pci`]);

  await iova("bind", "--restore", bdf);
  expect(driverOf(bdf)).toBe("nvme");
  expect(existsSync(file)).toBe(false);
  expect(overrides(bdf)).toEqual([]);
  await kernelDisk(bdf);
});

test("iova restore takes back a binding that driverctl has loaded", async () => {
  const bdf = nvmeBdf();
  await iova("bind", bdf, "--persist");
  await iova("unbind", bdf);
  driverctl("load-override", bdf);
  await iova("restore");
  expect(driverOf(bdf)).toBe("nvme");
  expect(overrides(bdf)).toEqual([]);
  await kernelDisk(bdf);
});
