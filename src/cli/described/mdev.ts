/** `iova mdev`. */
import { json, stepTimeout } from "./common.js";
import { describe, flag, value } from "./description.js";

export const mdevDescription = describe({
  name: "mdev",
  operands: "[PARENT --create TYPE | UUID --remove]",
  summary: "mediated devices, and the drivers that make them",
  usage: ["[--json]", "PARENT --create TYPE [--uuid UUID] [--timeout MS]", "UUID --remove [--timeout MS]"],
  text: [
    "Without an operand prints what there is. Creating and removing needs root. --remove fails while the device is in use.",
  ],
  offers: ["mediated"],
  options: {
    json,
    create: value("TYPE", "create a device of this type, and print its UUID"),
    uuid: value("UUID", "the new device's UUID (default: a random one)"),
    remove: flag("remove the device"),
    timeout: stepTimeout,
  },
  examples: [{ command: "iova mdev mtty --create mtty-2", text: "creates a device, and prints its UUID" }],
});
