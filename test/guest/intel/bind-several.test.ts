/** `iova bind` and `unbind` of several functions: all or none, also when something comes in between, other drivers, and the lock. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import {
  BusyError,
  bindToVfio,
  bindToVfioAsync,
  UnsupportedError,
  unbindFromVfioAsync,
} from "../../../src/index.js";
import { doNow } from "../../../src/pci/steps/kernel-steps.js";
import { lockFunction } from "../../../src/pci/steps/lock.js";
import { driverOf, readPciFunction } from "../../../src/pci/sysfs.js";
import { vfioDriverFor } from "../../../src/pci/vfio-driver.js";
import { caught } from "../../support/caught.js";
import { Child, runChild } from "../../support/child.js";
import { eventually } from "../../support/eventually.js";
import { eduBdf, nvmeBdf, pairNvmeBdf, wideNvmeBdf } from "../../support/functions.js";
import { kernelDisk } from "../../support/kernel-disk.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const iova = (...args: string[]): Promise<Child> => runChild(cli, ...args);

const locked = (bdf: string): Disposable => doNow(lockFunction(bdf, { timeoutMs: 1000 }));

/** Drivers and overrides of every function. */
function everything(): string[] {
  return readdirSync("/sys/bus/pci/devices").map((bdf) => {
    const override = readFileSync(`/sys/bus/pci/devices/${bdf}/driver_override`, "utf8").trim();
    return `${bdf} ${driverOf(bdf) ?? "no driver"} ${override}`;
  });
}

let before: string[] = [];
beforeEach(() => {
  before = everything();
});
afterEach(async () => {
  expect(everything()).toEqual(before);
  // The next test may ask for the disks at once.
  for (const bdf of [nvmeBdf(), wideNvmeBdf()]) await kernelDisk(bdf);
});

/** A run of `iova bind` that waits at the last function, after it has bound those before. */
async function waitingAt(last: string, ...first: string[]): Promise<{ child: Child; lock: Disposable }> {
  const lock = locked(last);
  const child = new Child(cli, "bind", ...first, last);
  await eventually(() => first.every((bdf) => driverOf(bdf) === "vfio-pci") || undefined);
  return { child, lock };
}

describe("iova bind of several functions", () => {
  test("binds them all, says so, and unbind gives them back", async () => {
    const [first, second] = [nvmeBdf(), wideNvmeBdf()].sort();
    const bound = await iova("bind", nvmeBdf(), wideNvmeBdf(), nvmeBdf());
    expect({ out: bound.stdout, err: bound.stderr }).toEqual({
      out: `${first} is bound to vfio-pci (before: nvme)\n${second} is bound to vfio-pci (before: nvme)\n`,
      err: "",
    });
    const unbound = await iova("unbind", nvmeBdf(), wideNvmeBdf());
    expect(unbound.stdout).toBe(`${first} is bound to nvme\n${second} is bound to nvme\n`);
  });

  test("with --group, the other endpoints of the IOMMU group come along", async () => {
    const other = pairNvmeBdf().replace(/0$/, "1");
    expect(readPciFunction(other).iommuGroup).toBe(readPciFunction(pairNvmeBdf()).iommuGroup);
    expect((await iova("bind", pairNvmeBdf(), "--group", "--dry-run")).stdout).toBe(
      `${pairNvmeBdf()} would be bound to vfio-pci (now: nvme)\n${other} would be bound to vfio-pci (now: no driver)\n`,
    );
    expect(everything()).toEqual(before);
    await iova("bind", pairNvmeBdf(), "--group");
    expect([pairNvmeBdf(), other].map(driverOf)).toEqual(["vfio-pci", "vfio-pci"]);
    await iova("unbind", other, "--group");
  });

  test("by ids and by class, and unbind of a class leaves those of other drivers alone", async () => {
    const { vendorId, deviceId } = readPciFunction(eduBdf());
    const id = [vendorId, deviceId].map((each) => each.toString(16).padStart(4, "0")).join(":");
    const { stdout } = await iova("bind", "--id", id);
    expect(stdout.split("\n").length).toBeGreaterThan(3);
    expect(driverOf(eduBdf())).toBe("vfio-pci");
    expect((await iova("unbind", "--class", "00ff")).stdout).toContain(`${eduBdf()} is bound to no driver`);
    expect((await iova("unbind", "--class", "0108")).stdout).toBe("no function is bound to a VFIO driver\n");
  });

  test("is refused for all of them if one is a bridge, or has no such driver", async () => {
    const bridge = await iova("bind", "--class", "0604", nvmeBdf());
    expect(bridge.stderr).toMatch(/can't be bound to vfio-pci: it is a PCI bridge/);
    expect(everything()).toEqual(before);
    const driver = await iova("bind", nvmeBdf(), "--driver", "no-such-vfio-pci");
    expect(driver.stderr).toMatch(/the kernel module no-such-vfio-pci (could not be loaded|is not loaded)/);
  });

  test.each(["SIGINT", "SIGTERM"] as const)("%s in the middle undoes what was done", async (signal) => {
    const [first = "", last = ""] = [nvmeBdf(), wideNvmeBdf()].sort();
    const { child, lock } = await waitingAt(last, first);
    process.kill(child.pid, signal);
    lock[Symbol.dispose]();
    expect(await child.ended).toBe(signal);
    expect(child.stderr).toBe(`iova: interrupted by ${signal}: everything is as it was before\n`);
    expect(child.stdout).toBe("");
  });

  test("a function that is removed in the middle undoes what was done", async () => {
    const [first = "", last = ""] = [nvmeBdf(), wideNvmeBdf()].sort();
    const { child, lock } = await waitingAt(last, first);
    writeFileSync(`/sys/bus/pci/devices/${last}/remove`, "1\n");
    lock[Symbol.dispose]();
    expect(await child.ended).toBe(1);
    expect(child.stderr).toContain(`there is no PCI device ${last}`);
    expect(driverOf(first)).toBe("nvme");
    writeFileSync("/sys/bus/pci/rescan", "1\n");
    await eventually(() => existsSync(`/sys/bus/pci/devices/${last}/driver`) || undefined);
  });

  test("two runs at once leave the functions bound, and one gives them back", async () => {
    const both = [nvmeBdf(), wideNvmeBdf()];
    const runs = await Promise.all([iova("bind", ...both), iova("bind", ...both.toReversed())]);
    for (const { stderr } of runs) expect(stderr).toBe("");
    expect(both.map(driverOf)).toEqual(["vfio-pci", "vfio-pci"]);
    await iova("unbind", ...both);
  });

  test("a function that another run has locked for too long is an error that names it", async () => {
    using _lock = locked(nvmeBdf());
    const { stderr } = await iova("bind", nvmeBdf(), "--timeout", "100");
    expect(stderr).toContain(`another program has been binding or unbinding ${nvmeBdf()} for 100 ms`);
  });
});

describe("the option `driver`", () => {
  test("refuses a driver that isn't VFIO's, also one that has the function, and undoes what was done", async () => {
    const options = { driver: "nvme" };
    expect(() => bindToVfio(eduBdf(), options)).toThrow();
    await caught(bindToVfioAsync(eduBdf(), options));
    expect(() => bindToVfio(nvmeBdf(), options)).toThrow(UnsupportedError);
    const error = await caught(bindToVfioAsync(nvmeBdf(), options));
    expect(error.message).toBe(`nvme is not a VFIO driver: it offers no VFIO device of ${nvmeBdf()}`);
    expect(everything()).toEqual(before);
  });

  test("chooses vfio-pci where no variant fits, and takes no path", async () => {
    expect(vfioDriverFor(nvmeBdf(), "best")).toEqual({ driver: "vfio-pci", module: "vfio-pci" });
    expect(() => bindToVfio(eduBdf(), { driver: "../nvme" })).toThrow('expected "best" or the name');
    const binding = await bindToVfioAsync(eduBdf(), { driver: "best" });
    expect(binding.driver).toBe("vfio-pci");
    await binding.closeAsync();
  });
});

describe("the lock of a function", () => {
  test("lets calls beside the thread bind and unbind one after the other", async () => {
    const [first, second] = await Promise.all([bindToVfioAsync(eduBdf()), bindToVfioAsync(eduBdf())]);
    expect([first.previousDriver, second.previousDriver].filter((each) => each === "vfio-pci")).toHaveLength(
      1,
    );
    for (const each of [first, second]) each.relinquish();
    await Promise.all([unbindFromVfioAsync(eduBdf()), unbindFromVfioAsync(eduBdf())]);
  });

  test("makes a call that blocks the thread an error while one beside it isn't done", async () => {
    const binding = bindToVfioAsync(eduBdf());
    expect(() => bindToVfio(eduBdf())).toThrow(BusyError);
    await (await binding).closeAsync();
  });
});
