/** A sysfs that is mounted read-only, as in containers: what changes a device says so, and changes nothing. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { nvmeBdf, sriovNvmeBdf } from "../../support/functions.js";
import { type Outcome, run } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");

function iova(...args: readonly string[]): Promise<Outcome> {
  const mount = 'mount -o remount,ro,bind /sys && exec "$0" "$@"';
  return run("unshare", ["--mount", "sh", "-c", mount, process.execPath, cli, ...args]);
}

test.each([
  ["bind", () => ["bind", nvmeBdf()]],
  ["unbind", () => ["unbind", nvmeBdf()]],
  ["bind --persist", () => ["bind", nvmeBdf(), "--persist"]],
  ["sriov", () => ["sriov", sriovNvmeBdf(), "1"]],
  ["reset", () => ["reset", nvmeBdf()]],
] as const)("iova %s says that sysfs is read-only, and what to do", async (_, args) => {
  const { status, stderr } = await iova(...args());
  expect(stderr).toMatch(
    /\/sys\/bus\/pci\/\S+: EROFS \(sysfs is mounted read-only here, as in most containers: do it on the host/,
  );
  expect(status).toBe(1);
  expect(driverOf(nvmeBdf())).toBe("nvme");
});
