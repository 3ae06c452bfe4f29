/** Prints or draws the topology of this host. */
import { hostname } from "node:os";
import { usersSearch } from "../../pci/usage/users.js";
import { writeNamed } from "../page.js";
import { print, printJson } from "../terminal.js";
import { topologyHtml } from "./html.js";
import { topologySvg } from "./svg.js";
import { groupsOf, readTopology, rowsOf } from "./topology.js";
import { isUtf8, treeText } from "./tree.js";

/** Prints the tree. */
export function printTree(json: boolean): void {
  const topology = readTopology(usersSearch());
  if (json) printJson(topology);
  else print(treeText(topology, isUtf8(process.env)));
}

/** Writes the picture to files. @throws as writeNamed() */
export function draw({
  svg,
  html,
}: {
  readonly svg: string | undefined;
  readonly html: string | undefined;
}): void {
  const topology = readTopology(usersSearch());
  const title = `PCI functions of ${hostname()}`;
  if (svg !== undefined) writeNamed("--svg", svg, topologySvg(topology, title));
  if (html !== undefined) writeNamed("--html", html, topologyHtml(topology, title));
  const count = topology.roots.flatMap(({ functions }) => rowsOf(functions)).length;
  const files = [svg, html].filter((file) => file !== undefined).join(" and ");
  print(`${count} functions in ${groupsOf(topology).size} IOMMU groups: ${files}`);
}
