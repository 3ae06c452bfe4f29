/** What doctor() finds on this machine, and the command for an ordinary user and in a namespace without nodes. */
import { execFileSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { basename, dirname } from "node:path";
import { expect, test } from "vitest";
import { type CheckResult, doctor } from "../../../src/doors/host.js";
import { bindToVfio } from "../../../src/index.js";
import { doctorSuite, restrictedDoctorSuite } from "../../support/doctor-suite.js";
import { otherPortEduBdf, portEduBdf, sriovNvmeBdf } from "../../support/functions.js";

doctorSuite("intel");
restrictedDoctorSuite();

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
