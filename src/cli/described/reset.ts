/** `iova reset`. */
import { json, stepTimeout } from "./common.js";
import { describe, flag, value } from "./description.js";

/** The kernel's names of reset methods (Documentation/ABI/testing/sysfs-bus-pci, reset_method). */
export const resetMethods = {
  device_specific: "a way of its own that the kernel knows",
  acpi: "by the firmware (_RST)",
  flr: "Function Level Reset of PCI Express",
  af_flr: "Function Level Reset of Advanced Features",
  pm: "through the power state D3hot",
  bus: "Secondary Bus Reset; the kernel does it only for a function that is alone on its bus",
  cxl_bus: "reset of a CXL port",
} as const;

export const resetDescription = describe({
  name: "reset",
  operands: "BDF",
  summary: "reset a function that nobody uses; says in which way, and who else is affected",
  usage: ["BDF [--method NAME] [--dry-run] [--json] [--timeout MS]"],
  text: [
    "Needs root. Fails, with nothing done, if the function is in use, or one of its virtual functions: mounted, up, open in a process. " +
      "Configuration space is as before, and a driver of the kernel starts the function again. The kernel tries the function's methods in " +
      "its order; --method asks for one, and leaves the order as it was.",
  ],
  lists: [{ title: "Methods", terms: Object.entries(resetMethods) }],
  offers: ["function", "nothing"],
  options: {
    method: value("NAME", "one of the methods that the function has", { offer: Object.keys(resetMethods) }),
    "dry-run": flag("say what would be done, and do nothing"),
    json,
    timeout: stepTimeout,
  },
  examples: [
    { command: "iova reset 0000:00:03.0 --dry-run", text: "shows the methods that the function has" },
    { command: "iova reset 0000:00:03.0 --method flr", text: "resets the function by FLR" },
  ],
});
