/** `iova list --svg`: the topology as a picture, in the colours of the reader's light or dark mode. */

import { hexDigits } from "../../core/hex-digits.js";
import { append, largestOf } from "../../core/lists.js";
import { visible } from "../../core/visible.js";
import { className } from "./class-names.js";
import { depthOf, groupsOf, isBridge, rowsOf, type Topology, type TreeFunction } from "./topology.js";

const MARGIN = 24;
const ROW = 52;
const BOX = { width: 420, height: 42 };
const INDENT = 34;
const HEAD = 40;
const LANE = 22;
const LEGEND = 44;

/** Kinds of boxes, which differ in colour; the text in them tells the driver, too. */
const kinds = [
  ["vfio", "bound to a VFIO driver"],
  ["kernel", "another driver of the kernel"],
  ["free", "no driver"],
  ["bridge", "bridge"],
] as const;
type Kind = (typeof kinds)[number][0];

type Colours = Readonly<Record<"paper" | "ink" | "faint" | "line" | "group" | Kind | `${Kind}-edge`, string>>;

const light: Colours = {
  paper: "#ffffff",
  ink: "#1c2430",
  faint: "#5b6675",
  line: "#9aa5b1",
  vfio: "#d8f3e0",
  "vfio-edge": "#1f8a4c",
  kernel: "#dbe9fb",
  "kernel-edge": "#2f6fbf",
  free: "#f1f3f5",
  "free-edge": "#8a95a3",
  bridge: "#efe9fb",
  "bridge-edge": "#7a5bc0",
  group: "#b5541b",
};
const dark: Colours = {
  paper: "#14181d",
  ink: "#e6eaf0",
  faint: "#a3afbd",
  line: "#5d6875",
  vfio: "#143524",
  "vfio-edge": "#4fc583",
  kernel: "#16294a",
  "kernel-edge": "#6ea8f5",
  free: "#23292f",
  "free-edge": "#77828f",
  bridge: "#2a2242",
  "bridge-edge": "#a98cf0",
  group: "#f0965a",
};
const DARK = "@media (prefers-color-scheme: dark)";

const variables = (colours: Colours): string =>
  Object.entries(colours)
    .map(([name, colour]) => `--${name}: ${colour};`)
    .join(" ");

/** Variables for both modes, for the page. */
export const PALETTE = `
  :root { color-scheme: light dark; ${variables(light)} }
  ${DARK} { :root { ${variables(dark)} } }`;

/** Without variables, which only browsers know: other programs that show SVG would paint all black. */
const colouring = (colours: Colours): string => `svg { background: ${colours.paper}; }
  text { fill: ${colours.ink}; } .faint { fill: ${colours.faint}; }
  ${kinds.map(([kind]) => `.${kind} { fill: ${colours[kind]}; stroke: ${colours[`${kind}-edge`]}; }`).join("\n  ")}
  path { stroke: ${colours.line}; } .group { stroke: ${colours.group}; } .number { fill: ${colours.group}; }`;

const STYLE = `
  :root { color-scheme: light dark; }
  svg { font: 13px system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
  .head { font-weight: 600; font-size: 15px; }
  .bdf { font-family: ui-monospace, "Liberation Mono", monospace; font-weight: 600; }
  rect { stroke-width: 1.5; rx: 6px; }
  path { fill: none; stroke-width: 1.5; }
  .group { stroke-width: 2.5; stroke-linecap: round; stroke-linejoin: round; }
  .number { font-weight: 600; }
  ${colouring(light)}
  ${DARK} { ${colouring(dark)} }`;

/** A function and where it is drawn. */
interface Place {
  readonly fn: TreeFunction;
  readonly x: number;
  readonly y: number;
}

/** A complete SVG document. @param title what it shows */
export function topologySvg(topology: Topology, title: string): string {
  const parts: string[] = [];
  const places = new Map<string, Place>();
  let y = MARGIN;
  for (const { name, functions } of topology.roots) {
    parts.push(textAt(MARGIN, y + 20, "head", `Root complex ${name}`));
    const top = y + 28;
    y += HEAD;
    for (const { fn, depth } of rowsOf(functions)) {
      const place = { fn, x: MARGIN + INDENT * (depth + 1), y };
      places.set(fn.bdf, place);
      y += ROW;
    }
    append(parts, connections(functions, MARGIN + INDENT / 2, top, places));
    y += MARGIN;
  }
  const right = MARGIN + INDENT * (depthOf(topology) + 1) + BOX.width;
  const groups = groupLines(topology, places, right + 16);
  const legend = legendAt(y);
  const width = Math.max(groups.right + MARGIN, legend.right + MARGIN);
  const boxes = [...places.values()].map(boxOf);
  const height = y + LEGEND;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
${[...parts, ...groups.parts, ...boxes, ...legend.parts].join("\n")}
</svg>
`;
}

/** Lines from a root or a bridge to the functions on its bus. */
function connections(
  functions: readonly TreeFunction[],
  x: number,
  top: number,
  places: ReadonlyMap<string, Place>,
): string[] {
  return functions.flatMap((fn) => {
    const place = places.get(fn.bdf);
    if (place === undefined) return [];
    const middle = place.y + BOX.height / 2;
    return [
      `<path d="M${x} ${top} V${middle} H${place.x}"/>`,
      ...connections(fn.functions, place.x + INDENT / 2, place.y + BOX.height, places),
    ];
  });
}

function boxOf({ fn, x, y }: Place): string {
  const { bdf, vendorId, deviceId, driver, buses, physicalFunction, inUse } = fn;
  const id = `${hexDigits(vendorId, 4)}:${hexDigits(deviceId, 4)}`;
  const facts = [
    id,
    driver ?? "no driver",
    ...(physicalFunction === undefined ? [] : [`of ${physicalFunction}`]),
    ...(buses.length === 0 ? [] : [`to bus ${buses.join(", ")}`]),
    ...(inUse.length === 0 ? [] : ["in use"]),
  ];
  return [
    `<g><title>${escaped([bdf, className(fn.classCode), ...facts, ...inUse].join("\n"))}</title>`,
    `<rect class="${kindOf(fn)}" x="${x}" y="${y}" width="${BOX.width}" height="${BOX.height}"/>`,
    `<text x="${x + 10}" y="${y + 17}"><tspan class="bdf">${escaped(bdf)}</tspan> ${escaped(className(fn.classCode))}</text>`,
    textAt(x + 10, y + 34, "faint", shortened(facts.join(", "))),
    "</g>",
  ].join("\n");
}

/** What fits in a box; the title has it all. */
function shortened(text: string): string {
  return text.length <= 62 ? text : `${text.slice(0, 61)}…`;
}

function kindOf(fn: TreeFunction): Kind {
  if (isBridge(fn)) return "bridge";
  if (fn.driver === undefined) return "free";
  return /vfio/.test(fn.driver) ? "vfio" : "kernel";
}

/** Beside the boxes: the number of each function's group, and a bracket around the functions that share one. */
function groupLines(
  topology: Topology,
  places: ReadonlyMap<string, Place>,
  left: number,
): { readonly parts: string[]; readonly right: number } {
  const parts: string[] = [];
  // The last row that each lane is used in: brackets that overlap are in different lanes.
  const lanes: number[] = [];
  const labels = left + 8;
  for (const [group, members] of groupsOf(topology)) {
    const middles = members.flatMap(({ bdf }) => {
      const place = places.get(bdf);
      return place === undefined ? [] : [{ x: place.x + BOX.width, y: place.y + BOX.height / 2 }];
    });
    for (const { x, y } of middles) {
      parts.push(`<path class="group" d="M${x + 4} ${y} H${left}"/>`);
      parts.push(textAt(labels, y - 4, "number", `group ${group}`));
    }
    const [first, last] = [middles[0]?.y, middles.at(-1)?.y];
    if (middles.length < 2 || first === undefined || last === undefined) continue;
    const bottom = largestOf(
      middles.map(({ y }) => y),
      last,
    );
    const free = lanes.findIndex((end) => end < first);
    const lane = free < 0 ? lanes.length : free;
    lanes[lane] = bottom;
    const x = labels + 70 + lane * LANE;
    parts.push(
      ...middles.map(({ y }) => `<path class="group" d="M${left} ${y} H${x}"/>`),
      `<path class="group" d="M${x} ${first} V${bottom}"/>`,
    );
  }
  return { parts, right: labels + 70 + Math.max(0, lanes.length - 1) * LANE };
}

function legendAt(y: number): { readonly parts: string[]; readonly right: number } {
  let x = MARGIN;
  const parts = kinds.flatMap(([kind, text]) => {
    const here = x;
    x += 40 + text.length * 7.5;
    return [
      `<rect class="${kind}" x="${here}" y="${y}" width="18" height="14"/>`,
      textAt(here + 26, y + 12, "faint", text),
    ];
  });
  return { parts, right: x };
}

function textAt(x: number, y: number, kind: string, text: string): string {
  return `<text class="${kind}" x="${x}" y="${y}">${escaped(text)}</text>`;
}

/** Text of the host as text of XML. */
export function escaped(text: string): string {
  const lines = text.split("\n").map(visible).join("\n");
  return lines.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
