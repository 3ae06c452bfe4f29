/** `iova doctor`. */
import { json } from "./common.js";
import { describe, flag, value } from "./description.js";

export const doctorDescription = describe({
  name: "doctor",
  operands: "[BDF...]",
  summary: "what keeps a device from being used on this host, and how to mend it",
  usage: ["[BDF...] [--user NAME] [--verbose] [--json]"],
  text: [
    "Checks this host for what a program needs to use a device: kernel, IOMMU, modules, nodes, limits, and the devices themselves. " +
      "Below the table it says how to mend each problem. It changes nothing. BDF are the devices to check; by default those that are " +
      "bound to vfio-pci.",
  ],
  offers: ["function"],
  options: {
    user: value("NAME", "for this user instead of who runs the command"),
    verbose: flag("also what is well, where each fact is from, and why it matters"),
    json: { ...json, text: "print the report as JSON" },
  },
  examples: [
    { command: "iova doctor", text: "checks the devices that are bound to vfio-pci" },
    { command: "iova doctor 0000:01:00.0 --user alice", text: "checks one device for a user" },
  ],
  statuses: {
    0: "the devices can be used now by this user; without BDF, at least one can",
    1: "they can't, or the command failed",
  },
});
