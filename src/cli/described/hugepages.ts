/** `iova hugepages`. */
import { json } from "./common.js";
import { describe, flag, value } from "./description.js";

export const hugePagesDescription = describe({
  name: "hugepages",
  operands: "[N]",
  summary: "show huge pages, or set how many there are, and mount them",
  usage: ["[--json]", "[N] [--size SIZE] [--node NODE] [--persist] [--mount FOLDER] [--dry-run]"],
  text: [
    "Without N and --mount prints what there is, by size and NUMA node. N is how many pages there are to be, free and used ones. If the " +
      "kernel finds fewer, since memory is fragmented, everything is as before. Needs root; iova restore takes it back.",
  ],
  offers: ["nothing"],
  options: {
    size: value("SIZE", "of a page, such as 2M or 1G; the kernel's default size by default"),
    node: value("NODE", "on this NUMA node only; by default the kernel spreads them"),
    persist: flag("also at every start of the machine, by a file in /etc/tmpfiles.d (systemd)"),
    mount: value("FOLDER", "mount a hugetlbfs for this size there", { offer: "folder" }),
    "dry-run": flag("say what would be done, and do nothing"),
    json,
  },
  examples: [
    { command: "iova hugepages", text: "shows all pools" },
    { command: "iova hugepages 512 --persist", text: "reserves 512 pages, now and at every start" },
    {
      command: "iova hugepages 4 --size 1G --node 0 --mount /mnt/huge",
      text: "reserves four on a node, and mounts them",
    },
  ],
});
