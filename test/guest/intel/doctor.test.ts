/** What doctor() finds on this machine, and the command for an ordinary user and in a namespace without nodes. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, realpathSync, rmdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { type CheckResult, type DoctorReport, doctor } from "../../../src/doors/host.js";
import { readPciFunction } from "../../../src/doors/pci.js";
import { bindToVfio } from "../../../src/index.js";
import { busybox } from "../../support/busybox.js";
import { doctorSuite, restrictedDoctorSuite } from "../../support/doctor-suite.js";
import { eventually } from "../../support/eventually.js";
import { eduBdf, otherPortEduBdf, portEduBdf, sriovNvmeBdf } from "../../support/functions.js";
import { bindForFile } from "../../support/igb-machine.js";
import { run } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");

doctorSuite("intel");
restrictedDoctorSuite();

describe("doctor in a control group of version 1 whose device rules", () => {
  const top = "/sys/fs/cgroup";
  const group = `${top}/devices/iova`;
  const needed = ["deny a *:* rwm", "allow c 1:* rwm", "allow c 5:* rwm"];
  /** A node's number, or all numbers of its driver. */
  const number = (sysfs: string): string => readFileSync(`/sys/class/${sysfs}/dev`, "utf8").trim();
  const all = (sysfs: string): string => number(sysfs).replace(/:.*/, ":*");

  bindForFile([eduBdf]);
  beforeAll(() => {
    busybox("mount", "-t", "tmpfs", "none", top);
    mkdirSync(`${top}/devices`);
    busybox("mount", "-t", "cgroup", "-o", "devices", "none", `${top}/devices`);
  });
  beforeEach(() => mkdirSync(group));
  afterEach(async () => {
    await eventually(() => (readFileSync(`${group}/cgroup.procs`, "utf8") === "" ? true : undefined));
    rmdirSync(group);
  });
  afterAll(() => {
    busybox("umount", `${top}/devices`);
    busybox("umount", top);
  });

  /** What doctor says of the rules, and whether the device can be used. */
  async function inGroup(
    rules: readonly string[],
  ): Promise<{ check: CheckResult | undefined; status: unknown }> {
    for (const rule of rules) {
      const [what, ...which] = rule.split(" ");
      writeFileSync(`${group}/devices.${what}`, which.join(" "));
    }
    const enter = 'echo $$ > "$0"; exec "$@"';
    const command = [process.execPath, cli, "doctor", "--json", eduBdf()];
    const { stdout, status } = await run("sh", ["-c", enter, `${group}/cgroup.procs`, ...command]);
    const { checks }: DoctorReport = JSON.parse(stdout);
    return { check: checks.find(({ id }) => id === "runtime.device-rules"), status };
  }

  test("allow a few devices only names the nodes of VFIO that they refuse, and what mends it", async () => {
    const { check, status } = await inGroup(needed);
    expect(check).toMatchObject({ state: "problem", where: `${group}/devices.list` });
    expect(check?.found).toMatch(
      /refuse \/dev\/iommu, \/dev\/vfio\/vfio, \/dev\/vfio\/.*\/dev\/vfio\/devices\/vfio\d+/,
    );
    // The files of this host, so also what marks it as a container.
    expect(check?.fixes[0]?.steps[0]).toMatchObject({
      text: expect.stringMatching(/DeviceAllow=\/dev\/iommu rw|--device \/dev\/iommu/),
    });
    expect(status).toBe(1);
  });

  test("also allow VFIO finds nothing wrong", async () => {
    const [cdev = ""] = readdirSync(`/sys/bus/pci/devices/${eduBdf()}/vfio-dev`);
    const own = [all(`vfio/${readPciFunction(eduBdf()).iommuGroup}`), all(`vfio-dev/${cdev}`)];
    const nodes = [number("misc/iommu"), number("misc/vfio"), ...own];
    const { check, status } = await inGroup([...needed, ...nodes.map((each) => `allow c ${each} rw`)]);
    expect(check).toMatchObject({ state: "ok", where: `${group}/devices.list` });
    expect(status).toBe(0);
  });

  test("refuse one node, which the kernel's list doesn't show, finds it by opening it", async () => {
    const { check, status } = await inGroup([`deny c ${number("misc/iommu")} rwm`]);
    expect(check).toMatchObject({
      state: "problem",
      found: expect.stringMatching(/^open\(\) of \/dev\/iommu fails with EPERM/),
      where: `${group}/devices.list`,
    });
    // Through type1.
    expect(status).toBe(0);
  });
});

test("two devices behind one port: VFIO says that a bus reset resets both, and ACS why they share a group", () => {
  using binding = bindToVfio(portEduBdf());
  const { checks } = doctor({ devices: [binding.bdf] });
  const found = (id: string) => checks.find((check) => check.id === id);
  expect(found("device.bus-reset")).toMatchObject({
    found: expect.stringContaining(`it also resets ${otherPortEduBdf()}`),
    where: "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
  });
  expect(found("device.acs")).toMatchObject({
    state: "warning",
    found: `not isolated from ${otherPortEduBdf()}; ${binding.bdf} lacks ACS, ${portOf(binding.bdf)} has ACS on`,
  });
});

test("a device behind a port whose ACS the kernel has switched on is isolated by it", () => {
  const bdf = sriovNvmeBdf();
  const port = portOf(bdf);
  const said = execFileSync("lspci", ["-vvs", port], { encoding: "utf8" });
  expect(said).toMatch(/ACSCtl:\s*SrcValid\+ .*ReqRedir\+ CmpltRedir\+ UpstreamFwd\+/);
  expect(acsOf(bdf)).toMatchObject({
    state: "ok",
    found: `isolated from other devices; ${port} has ACS on`,
  });
});

test("a port whose ACS was switched off isn't called on", () => {
  const bdf = sriovNvmeBdf();
  const port = portOf(bdf);
  // Offset 6 of the capability (id 0d).
  const control = "ECAP_ACS+6.w";
  const before = execFileSync("setpci", ["-s", port, control], { encoding: "utf8" }).trim();
  try {
    execFileSync("setpci", ["-s", port, `${control}=0000`]);
    expect(acsOf(bdf)?.found).toBe(`isolated from other devices; ${port} has ACS off`);
  } finally {
    execFileSync("setpci", ["-s", port, `${control}=${before}`]);
  }
  expect(acsOf(bdf)?.found).toBe(`isolated from other devices; ${port} has ACS on`);
});

function acsOf(bdf: string): CheckResult | undefined {
  return doctor({ devices: [bdf] }).checks.find(({ id }) => id === "device.acs");
}

/** The port above a function. */
function portOf(bdf: string): string {
  return basename(dirname(realpathSync(`/sys/bus/pci/devices/${bdf}`)));
}
