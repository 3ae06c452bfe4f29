/** `iova show`. */
import { json } from "./common.js";
import { describe } from "./description.js";

export const showDescription = describe({
  name: "show",
  operands: "BDF",
  summary: "header and capabilities of a function, decoded",
  usage: ["BDF [--json]", "vfio-user:PATH | UUID [--json]"],
  text: [
    "Prints a function's configuration space as lspci -vvv does: `name+` is set, `name-` isn't. Without CAP_SYS_ADMIN " +
      "the kernel shows the header only. A function behind vfio-user:PATH, or the UUID of a mediated device, is opened for it.",
  ],
  offers: ["target"],
  options: { json },
  examples: [{ command: "iova show 0000:00:03.0", text: "decodes the capabilities of this function" }],
});
