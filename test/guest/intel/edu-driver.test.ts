/** The example's driver for edu, on QEMU's device. */
import { afterAll, beforeAll, describe } from "vitest";
import { bindToVfio, PciDevice, type VfioBinding } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { eduDriverSuite } from "../../support/edu-driver-suite.js";
import { eduBdf } from "../../support/functions.js";

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

describe.each(backendNames)("edu through %s", (backend) => {
  eduDriverSuite(() => PciDevice.open(eduBdf(), { backend }));
});
