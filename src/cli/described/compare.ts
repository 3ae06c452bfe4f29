/** `iova compare`. */
import { json } from "./common.js";
import { describe, flag, value } from "./description.js";

export const compareDescription = describe({
  name: "compare",
  operands: "[BDF]",
  summary: "measure iommufd against type1 on a device bound to vfio-pci, or in a guest",
  usage: ["[BDF] [--quick] [--json] [--html FILE] [--progress]", "--guest [--quick] [--json] [--html FILE]"],
  text: [
    "Measures iommufd against VFIO type1 (and iommufd-compat and no-IOMMU mode where this host has them) on a device that is bound to " +
      "vfio-pci: opening, mapping and unmapping by size and page size, many mappings, a second address space, accounting, NVMe " +
      "reads (never writes), and what each can do. Bindings and settings stay as they are; an NVMe controller is reset. BDF is the " +
      "device; by default the first one bound to vfio-pci.",
  ],
  offers: ["function", "nothing"],
  options: {
    guest: flag("in a QEMU guest with an NVMe controller and an IOMMU of its own"),
    quick: flag("two short rounds, to check that it works"),
    json: { ...json, text: "print the report as JSON (docs/compare.md)" },
    html: value("FILE", "write the report as one self-contained page", { offer: "file" }),
    progress: flag("show progress even if standard error isn't a terminal"),
  },
  examples: [
    { command: "iova compare 0000:00:03.0 --html report.html", text: "measures with this device" },
    { command: "iova compare --guest --quick", text: "needs no device, and no root" },
  ],
  statuses: { 0: "measured", 1: "not possible here, with the reason" },
});
