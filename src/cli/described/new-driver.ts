/** `iova new-driver`. */
import { describe, value } from "./description.js";

export const newDriverDescription = describe({
  name: "new-driver",
  operands: "NAME --vendor ID --device ID",
  summary: "write the package of a new driver, with tests that need no hardware",
  usage: ["NAME --vendor ID --device ID [--dir PATH]"],
  text: [
    "Writes an npm package for a new driver: registers, a driver with an interrupt and a DMA buffer, a model of the device in " +
      "software, and tests of the driver on the model, which need no hardware and no root. NAME is the name of the npm package, " +
      "such as my-nic or @company/my-nic.",
  ],
  offers: ["nothing"],
  options: {
    vendor: value("ID", "PCI vendor ID: up to four hex digits, as lspci -n prints them, with or without 0x"),
    device: value("ID", "PCI device ID, in the same way"),
    dir: value("PATH", "folder to write to, new or empty (default: NAME without its scope)", {
      offer: "folder",
    }),
  },
  examples: [
    { command: "iova new-driver my-nic --vendor 8086 --device 10c9", text: "writes the folder my-nic" },
  ],
});
