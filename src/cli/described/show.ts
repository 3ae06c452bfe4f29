/** `iova show`. */
import { json } from "./common.js";
import { describe } from "./description.js";

export const showDescription = describe({
  name: "show",
  operands: "BDF",
  summary: "what sysfs and the configuration space say of a function, decoded",
  usage: ["BDF [--json]", "vfio-user:PATH | UUID [--json]"],
  text: [
    "Prints what lspci -vvv does: driver, kernel modules, IOMMU group, slot, interrupt, regions, vital product data, and the " +
      "configuration space, decoded: `name+` is set, `name-` isn't. Without CAP_SYS_ADMIN the kernel shows the header only, and no " +
      "product data. A function behind vfio-user:PATH, or the UUID of a mediated device, is opened for it; it has no place in sysfs.",
  ],
  offers: ["target"],
  options: { json },
  examples: [{ command: "iova show 0000:00:03.0", text: "decodes the capabilities of this function" }],
});
