/** `iova bind`. */
import { stepTimeout } from "./common.js";
import { describe } from "./description.js";

export const bindDescription = describe({
  name: "bind",
  operands: "BDF",
  summary: "bind a function to vfio-pci, for a driver in user space",
  usage: ["BDF [--timeout MS]"],
  text: [
    "Needs root. Fails, with nothing done, if the function is in use: a mounted disk, swap, a volume, a network interface that is up.",
  ],
  offers: ["function"],
  options: { timeout: stepTimeout },
  examples: [{ command: "iova bind 0000:00:03.0", text: "takes the function from the kernel's driver" }],
});
