/** `iova vfs`. */
import { json, stepTimeout } from "./common.js";
import { describe, flag, value } from "./description.js";

export const vfsDescription = describe({
  name: "vfs",
  operands: "BDF [--create N | --remove]",
  summary: "virtual functions of a function (SR-IOV): list, create and remove them",
  usage: ["BDF [--json]", "BDF --create N [--driver vfio-pci] [--timeout MS]", "BDF --remove [--timeout MS]"],
  text: [
    "Prints the virtual functions of a function, or those beside a virtual one, and what has them open. Creating and removing needs " +
      "root. --remove fails, with nothing done, if one is in use.",
  ],
  offers: ["function"],
  options: {
    json,
    create: value("N", "create this many"),
    driver: value(
      "vfio-pci",
      "bind what --create makes to vfio-pci, and keep the kernel's drivers away from it",
      {
        offer: ["vfio-pci"],
      },
    ),
    remove: flag("remove them all"),
    timeout: stepTimeout,
  },
  examples: [
    {
      command: "iova vfs 0000:01:00.0 --create 2 --driver vfio-pci",
      text: "makes two, for drivers in user space",
    },
    { command: "iova vfs 0000:01:00.0 --remove", text: "removes them" },
  ],
});
