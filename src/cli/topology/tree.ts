/** `iova list --tree`: the topology as text. */
import { hexDigits } from "../../core/hex-digits.js";
import { visible } from "../../core/visible.js";
import { className } from "./class-names.js";
import { groupsOf, rowsOf, type Topology, type TreeFunction, type TreeRow } from "./topology.js";

/** What lines are drawn with. */
interface Lines {
  readonly pass: string;
  readonly gap: string;
  readonly branch: string;
  readonly end: string;
}

const boxLines: Lines = { pass: "│  ", gap: "   ", branch: "├─ ", end: "└─ " };
const asciiLines: Lines = { pass: "|  ", gap: "   ", branch: "|- ", end: "`- " };

/** Whether the environment's locale has more than ASCII. */
export function isUtf8(env: Readonly<Record<string, string | undefined>>): boolean {
  const locale = [env["LC_ALL"], env["LC_CTYPE"], env["LANG"]].find(
    (each) => each !== undefined && each !== "",
  );
  return /utf-?8/i.test(locale ?? "");
}

/** The tree of each root complex, and the groups that have more than one function. */
export function treeText(topology: Topology, utf8: boolean): string {
  const lines = utf8 ? boxLines : asciiLines;
  const shared = [...groupsOf(topology)].filter(([, members]) => members.length > 1);
  return [
    ...topology.roots.flatMap(({ name, functions }) => [
      `${name}  root complex`,
      ...rowsOf(functions).map((row) => rowText(row, lines)),
    ]),
    ...(shared.length === 0 ? [] : ["", "IOMMU groups of several functions:"]),
    ...shared.map(([group, members]) => `  group ${group}: ${members.map(({ bdf }) => bdf).join(", ")}`),
  ].join("\n");
}

function rowText({ fn, isLast }: TreeRow, { pass, gap, branch, end }: Lines): string {
  const above = isLast.slice(0, -1).map((last) => (last ? gap : pass));
  const id = `${hexDigits(fn.vendorId, 4)}:${hexDigits(fn.deviceId, 4)}`;
  const start = `${above.join("")}${isLast.at(-1) === true ? end : branch}${fn.bdf}`;
  return `${start}  ${className(fn.classCode)}  ${id}  ${factsOf(fn).map(visible).join(", ")}`;
}

/** Group, driver, users and buses of a function, in words. */
export function factsOf({ iommuGroup, driver, physicalFunction, inUse, buses }: TreeFunction): string[] {
  return [
    iommuGroup === undefined ? "no IOMMU group" : `group ${iommuGroup}`,
    driver ?? "no driver",
    ...(physicalFunction === undefined ? [] : [`virtual function of ${physicalFunction}`]),
    ...inUse,
    ...(buses.length === 0 ? [] : [`leads to bus ${buses.join(", ")}`]),
  ];
}
