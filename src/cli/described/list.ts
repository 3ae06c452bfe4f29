/** `iova list`. */
import { json } from "./common.js";
import { describe, flag, value } from "./description.js";

export const listDescription = describe({
  name: "list",
  operands: "",
  summary: "PCI functions of this host: class, ids, IOMMU group, driver, and what uses them",
  usage: ["[--json]", "--tree [--json]", "[--svg FILE] [--html FILE]"],
  text: [
    "Prints the PCI functions of this host, in the order of their addresses, or as a tree, or draws them: root complexes, bridges, " +
      "IOMMU groups, drivers.",
  ],
  offers: [],
  options: {
    json,
    tree: flag(
      "root complexes with their bridges and functions, and the IOMMU groups that several functions share",
    ),
    svg: value("FILE", "write a picture, which follows the reader's light or dark mode", { offer: "file" }),
    html: value("FILE", "write a page with the picture and a table, which needs no other file", {
      offer: "file",
    }),
  },
  examples: [
    { command: "iova list", text: "shows which functions there are, and who has them" },
    { command: "iova list --tree", text: "shows what is behind which bridge" },
    { command: "iova list --html host.html", text: "draws this host" },
  ],
});
