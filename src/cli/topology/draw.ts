/** Prints or draws the topology of this host. */
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { usersSearch } from "../../pci/usage/users.js";
import { usageError } from "../command-line.js";
import { listDescription } from "../described/list.js";
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

/** Writes the picture to files. @throws ConfigError: a file can't be written */
export function draw({
  svg,
  html,
}: {
  readonly svg: string | undefined;
  readonly html: string | undefined;
}): void {
  const topology = readTopology(usersSearch());
  const title = `PCI functions of ${hostname()}`;
  if (svg !== undefined) writeDrawing("--svg", svg, topologySvg(topology, title));
  if (html !== undefined) writeDrawing("--html", html, topologyHtml(topology, title));
  const count = topology.roots.flatMap(({ functions }) => rowsOf(functions)).length;
  const files = [svg, html].filter((file) => file !== undefined).join(" and ");
  print(`${count} functions in ${groupsOf(topology).size} IOMMU groups: ${files}`);
}

function writeDrawing(option: string, file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw usageError(
      listDescription,
      `${option}: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
}
