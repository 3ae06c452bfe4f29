/** What doctor() finds on this machine, and the command for an ordinary user and in a namespace without nodes. */
import { expect, test } from "vitest";
import { doctor } from "../../../src/doors/host.js";
import { bindToVfio } from "../../../src/index.js";
import { doctorSuite, restrictedDoctorSuite } from "../../support/doctor-suite.js";
import { otherPortEduBdf, portEduBdf } from "../../support/functions.js";

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
    found: expect.stringContaining(`not isolated from ${otherPortEduBdf()}; ${binding.bdf} lacks ACS`),
  });
});
