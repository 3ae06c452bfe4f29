/** `iova list --html`: one page with the picture and a table of the functions, without anything from elsewhere. */
import { hexDigits } from "../../core/hex-digits.js";
import { className } from "./class-names.js";
import { escaped, PALETTE, topologySvg } from "./svg.js";
import { groupsOf, rowsOf, type Topology } from "./topology.js";
import { factsOf } from "./tree.js";

const STYLE = `${PALETTE}
  body { margin: 2rem auto; padding: 0 1rem; max-width: 75rem; background: var(--paper); color: var(--ink);
    font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
  h1 { font-size: 1.4rem; } .picture { overflow-x: auto; } .picture svg { max-width: none; }
  table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 0.3rem 0.8rem 0.3rem 0;
    border-bottom: 1px solid var(--line); vertical-align: top; } td:first-child { font-family: ui-monospace, monospace; }
  p { color: var(--faint); }`;

/** @param title such as the host's name */
export function topologyHtml(topology: Topology, title: string): string {
  const rows = topology.roots.flatMap(({ functions }) => rowsOf(functions).map(({ fn }) => fn));
  const cells = rows.map((fn) => {
    const id = `${hexDigits(fn.vendorId, 4)}:${hexDigits(fn.deviceId, 4)}`;
    return `<tr>${[fn.bdf, className(fn.classCode), id, factsOf(fn).join(", ")].map((cell) => `<td>${escaped(cell)}</td>`).join("")}</tr>`;
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escaped(title)}</h1>
<p>${rows.length} functions, ${groupsOf(topology).size} IOMMU groups. Functions in one group can only be given to user space together.</p>
<div class="picture">
${topologySvg(topology, title)}</div>
<table>
<thead><tr><th>Address</th><th>Kind</th><th>Ids</th><th>Group, driver, use</th></tr></thead>
<tbody>
${cells.join("\n")}
</tbody>
</table>
</body>
</html>
`;
}
