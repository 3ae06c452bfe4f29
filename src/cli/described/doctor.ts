/** `iova doctor`. */
import { json } from "./common.js";
import { describe, flag, value } from "./description.js";

export const doctorDescription = describe({
  name: "doctor",
  operands: "[BDF...]",
  summary: "what keeps a device from being used on this host, and how to mend it",
  usage: [
    "[BDF...] [--user NAME] [--verbose] [--json]",
    "--fix [--yes] [--dry-run] [BDF...] [--user NAME] [--verbose] [--json]",
  ],
  text: [
    "Checks this host for what a program needs to use a device: kernel, IOMMU, modules, nodes, limits, and the devices themselves. " +
      "Below the table it says how to mend each problem. BDF are the devices to check; by default those that are bound to vfio-pci. It changes " +
      "nothing without --fix.",
    "--fix mends problems by the first of the ways that are shown: it loads modules, binds devices, writes files of its own and gives " +
      "nodes to a group. Needs root. It says what it will do, does all of it or none, and records it, so that iova restore takes it back. " +
      "The boot configuration is changed with --yes only. What only a person can do stays a text.",
  ],
  offers: ["function"],
  options: {
    user: value("NAME", "for this user instead of who runs the command"),
    verbose: flag("also what is well, where each fact is from, and why it matters"),
    fix: flag("mend what a program can mend, and can be taken back"),
    yes: flag("with --fix: also change the kernel command line, in the boot loader's configuration"),
    "dry-run": flag("with --fix: say what would be done, and do nothing"),
    json: { ...json, text: "print the report as JSON" },
  },
  examples: [
    { command: "iova doctor", text: "checks the devices that are bound to vfio-pci" },
    { command: "iova doctor 0000:01:00.0 --user alice", text: "checks one device for a user" },
    { command: "iova doctor 0000:01:00.0 --fix --dry-run", text: "shows what could be mended" },
    {
      command: "iova doctor 0000:01:00.0 --fix --user alice",
      text: "mends what keeps a user from the device",
    },
  ],
  statuses: {
    0: "the devices can be used now by this user; without BDF, at least one can",
    1: "they can't, or the command failed",
  },
});
