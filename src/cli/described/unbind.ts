/** `iova unbind`. */
import { selectionOptions } from "./binding.js";
import { describe } from "./description.js";

export const unbindDescription = describe({
  name: "unbind",
  operands: "BDF...",
  summary: "unbind functions from their VFIO driver; the kernel then chooses one, as at boot",
  usage: ["BDF... [--group] [--dry-run] [--json] [--timeout MS]", "--class CLASS | --id VENDOR:DEVICE [...]"],
  text: [
    "Unbinds all of them, or none: an error, Ctrl-C or SIGTERM undoes what was done before. Needs root. Fails while a process has one of " +
      "them open. --class, --id and --group alone mean functions that a VFIO driver has.",
  ],
  offers: ["function"],
  options: selectionOptions,
  examples: [
    { command: "iova unbind 0000:00:03.0", text: "gives the function back to the kernel's driver" },
    { command: "iova unbind --class 0108", text: "gives all NVMe controllers back" },
  ],
});
