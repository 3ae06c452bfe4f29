/** `iova sriov`. */
import { json, stepTimeout } from "./common.js";
import { describe, value } from "./description.js";

export const sriovDescription = describe({
  name: "sriov",
  operands: "BDF [N]",
  summary: "set how many virtual functions a function has (SR-IOV); 0 removes them",
  usage: ["BDF [N] [--driver vfio-pci] [--json] [--timeout MS]"],
  text: [
    "Without N prints how many there are and can be. Needs root. Fails, with nothing done, if a virtual function is in use. Another number " +
      "removes those that are there first; if the new ones can't be made, there are as many as before again. iova vfs lists them.",
  ],
  offers: ["function", "nothing"],
  options: {
    driver: value("vfio-pci", "bind the new ones to vfio-pci, and keep the kernel's drivers away from them", {
      offer: ["vfio-pci"],
    }),
    json,
    timeout: stepTimeout,
  },
  examples: [
    { command: "iova sriov 0000:01:00.0 4 --driver vfio-pci", text: "makes four, for drivers in user space" },
    { command: "iova sriov 0000:01:00.0 0", text: "removes them" },
  ],
});
