/** `iova list`. */
import { json } from "./common.js";
import { describe } from "./description.js";

export const listDescription = describe({
  name: "list",
  operands: "",
  summary: "PCI functions of this host: class, ids, IOMMU group, driver, and what uses them",
  usage: ["[--json]"],
  text: ["Prints the PCI functions of this host, in the order of their addresses."],
  offers: [],
  options: { json },
  examples: [{ command: "iova list", text: "shows which functions there are, and who has them" }],
});
