/** `iova unbind`. */
import { stepTimeout } from "./common.js";
import { describe } from "./description.js";

export const unbindDescription = describe({
  name: "unbind",
  operands: "BDF",
  summary: "unbind it from vfio-pci; the kernel then chooses a driver, as at boot",
  usage: ["BDF [--timeout MS]"],
  text: ["Needs root. Fails, with nothing done, while a process has the function open."],
  offers: ["function"],
  options: { timeout: stepTimeout },
  examples: [{ command: "iova unbind 0000:00:03.0", text: "gives the function back to the kernel's driver" }],
});
