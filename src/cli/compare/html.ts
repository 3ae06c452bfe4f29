/** The report as one self-contained page: no script, no network, light and dark colours. */
import { columns, day, factList, figure, heading, page, table } from "../page.js";
import { type Bar, barChart, escapeHtml, lineChart } from "./charts.js";
import type { ComparedBackend, CompareReport, MappingResult } from "./report.js";
import type { Summary } from "./statistics.js";
import { availableBackends, facts, methodNames, sortedMapping } from "./text.js";
import { formatBytes, formatCount, formatTime } from "./units.js";

/** Colours of the backends. */
const STYLE = `:root { --iommufd: #2563c9; --type1: #d9730d; --iommufd-compat: #0d8f7d; --noiommu: #8b5cc7; }
@media (prefers-color-scheme: dark) { :root { --iommufd: #6ea3f5; --type1: #f2a65a; --iommufd-compat: #4cc7b3; --noiommu: #b794e8; } }
.iommufd { color: var(--iommufd); } .type1 { color: var(--type1); }
.iommufd-compat { color: var(--iommufd-compat); } .noiommu { color: var(--noiommu); }`;

export function renderHtml(report: CompareReport): string {
  const backends = availableBackends(report);
  const names =
    backends.length > 1 ? `${backends.slice(0, -1).join(", ")} and ${backends.at(-1)}` : backends.join("");
  const title = `${names} on ${report.machine.hostname}`;
  const subtitle = `Measured by iova compare on ${day(report.createdAt)}, ${report.rounds} rounds in turns${report.quick ? ", quick" : ""}`;
  const parts = [
    heading("What was found"),
    `<ul class="found">${report.findings.map((line) => `<li>${escapeHtml(line)}</li>`).join("")}</ul>`,
    heading("Where"),
    factList(facts(report)),
    mappingCharts(report, backends),
    libraryCharts(report),
    fillingCharts(report),
    deviceCharts(report),
    accountingTable(report),
    mappingTable(report),
    featureTable(report, backends),
    missing(report),
    "<footer>Bars and lines are medians. Their shades and whiskers hold the middle half of the samples. Times of one " +
      "machine; compare ratios. Made by the npm package iova.</footer>",
  ];
  return page({ title, subtitle, parts, style: STYLE });
}

function legend(backends: readonly ComparedBackend[]): string {
  const items = backends.map((name) => `<li class="${name}"><i></i><b>${name}</b></li>`);
  return `<ul class="legend">${items.join("")}</ul>`;
}

function bar(label: string, style: string, summary: Summary, text = formatTime(summary.median)): Bar {
  const spread: [number, number] = [summary.p25, summary.p75];
  return { label, segments: [{ value: summary.median, style, title: `${label}: ${text}` }], text, spread };
}

function mappingCharts(report: CompareReport, backends: readonly ComparedBackend[]): string {
  const pages = [...new Set(report.mapping.map(({ pageBytes }) => pageBytes))].sort((a, b) => a - b);
  if (pages.length === 0) return "";
  const figures = pages.flatMap((pageBytes) =>
    (["bareMap", "bareUnmap"] as const).map((what) => mappingChart(report, backends, pageBytes, what)),
  );
  return (
    heading(
      "Mapping and unmapping by size",
      "The bare ioctl, by the size of the mapping and the pages that the memory is made of. Both axes are logarithmic: a " +
        "straight rise means that each page costs the same.",
    ) +
    legend(backends) +
    columns(figures)
  );
}

function mappingChart(
  report: CompareReport,
  backends: readonly ComparedBackend[],
  pageBytes: number,
  what: "bareMap" | "bareUnmap",
): string {
  const title = `${what === "bareMap" ? "Map" : "Unmap"}, pages of ${formatBytes(pageBytes)}`;
  const own = sortedMapping(report).filter((each) => each.pageBytes === pageBytes);
  const sizes = [...new Set(own.map(({ sizeBytes }) => sizeBytes))];
  if (sizes.length < 2) {
    const bars = own.map((each) => bar(each.backend, each.backend, each[what]));
    return figure(`${title}, ${formatBytes(sizes[0] ?? 0)}`, barChart(title, bars));
  }
  const series = backends.map((backend) => ({
    style: backend,
    points: own
      .filter((each) => each.backend === backend)
      .map((each) => ({
        x: each.sizeBytes,
        y: each[what].median,
        low: each[what].p25,
        high: each[what].p75,
        title: `${backend}, ${formatBytes(each.sizeBytes)}: ${formatTime(each[what].median)}`,
      })),
  }));
  const xTicks = sizes.map((value) => ({ value, label: formatBytes(value) }));
  return figure(title, lineChart({ label: title, series, xTicks, formatY: shortTime }));
}

/** Ticks are powers of ten: `10 µs` rather than `10.0 µs`. */
function shortTime(ns: number): string {
  return formatTime(ns).replace(/\.0+ /, " ");
}

function libraryCharts(report: CompareReport): string {
  const smallest = report.mapping.filter(({ sizeBytes }) => sizeBytes === 4096);
  if (smallest.length === 0) return "";
  const stacked = (each: MappingResult, bare: Summary, library: Summary): Bar => ({
    label: each.backend,
    segments: [
      { value: bare.median, style: each.backend, title: `bare ioctl: ${formatTime(bare.median)}` },
      {
        value: library.median - bare.median,
        style: `${each.backend} added`,
        title: `DmaSpace adds ${formatTime(library.median - bare.median)}`,
      },
    ],
    text: formatTime(library.median),
  });
  return (
    heading(
      "What the library adds",
      "4 KiB, where it weighs most. Full colour: the bare ioctl; paler: what DmaSpace adds to it (argument checks, the " +
        "buffer with its lifetime, addresses).",
    ) +
    columns([
      figure(
        "Map",
        barChart(
          "Map 4 KiB",
          smallest.map((each) => stacked(each, each.bareMap, each.libraryMap)),
        ),
      ),
      figure(
        "Unmap",
        barChart(
          "Unmap 4 KiB",
          smallest.map((each) => stacked(each, each.bareUnmap, each.libraryUnmap)),
        ),
      ),
    ])
  );
}

function fillingCharts(report: CompareReport): string {
  const figures: string[] = [];
  const [one] = report.manyOrOne;
  if (one !== undefined) {
    const bars = report.manyOrOne.flatMap((each) => [
      bar(`${each.backend}, many`, each.backend, each.manyMap),
      bar(`${each.backend}, one`, each.backend, each.oneMap),
    ]);
    const title = `Map ${formatBytes(one.totalBytes)} in pieces of ${formatBytes(one.pieceBytes)}, or in one`;
    figures.push(figure(title, barChart(title, bars)));
  }
  const [all] = report.unmapAll;
  if (all !== undefined) {
    const bars = report.unmapAll.flatMap((each) => [
      bar(`${each.backend}, each`, each.backend, each.oneByOne),
      ...(each.inOneCall === null ? [] : [bar(`${each.backend}, all`, each.backend, each.inOneCall)]),
    ]);
    const title = `Remove ${formatCount(all.mappings)} mappings, each by itself or all in one call`;
    figures.push(figure(title, barChart(title, bars)));
  }
  const [second] = report.secondSpace;
  if (second !== undefined) {
    const bars = report.secondSpace.map((each) =>
      bar(`${each.backend}, ${shortMethods[each.method]}`, each.backend, each.time),
    );
    const title = `Let a second device reach ${formatCount(second.mappings)} mappings`;
    figures.push(figure(title, barChart(title, bars)));
  }
  if (figures.length === 0) return "";
  return (
    heading(
      "Many mappings",
      "Large mappings instead of small ones, removing all at once, and what a second device or address space costs: " +
        `${Object.values(methodNames).join(", ")}.`,
    ) +
    legend(availableBackends(report)) +
    columns(figures)
  );
}

const shortMethods = { "map-again": "map", copy: "copy", attach: "attach" } as const;

function deviceCharts(report: CompareReport): string {
  const figures: string[] = [];
  if (report.opening.length > 0) {
    const bars = report.opening.map(({ backend, toMapped }) => bar(backend, backend, toMapped));
    figures.push(figure("From nothing to a mapped page", barChart("Opening", bars)));
  }
  const first = report.opening.flatMap(({ backend, toFirstDma }) =>
    toFirstDma === null ? [] : [bar(backend, backend, toFirstDma)],
  );
  if (first.length > 0) figures.push(figure("From nothing to the first DMA", barChart("First DMA", first)));
  const [nvme] = report.nvme;
  if (nvme !== undefined) {
    const size = formatBytes(nvme.readBytes);
    figures.push(
      figure(
        `NVMe random reads of ${size}: latency of one`,
        barChart(
          "Latency",
          report.nvme.map(({ backend, latency }) => bar(backend, backend, latency)),
        ),
      ),
      figure(
        `NVMe random reads of ${size}: reads a second, ${nvme.depth} at a time`,
        barChart(
          "Reads a second",
          report.nvme.map(({ backend, readsPerSecond }) =>
            bar(backend, backend, readsPerSecond, formatCount(readsPerSecond.median)),
          ),
        ),
      ),
    );
  }
  return figures.length === 0 ? "" : heading("The device", "Opening it, and using it.") + columns(figures);
}

function accountingTable(report: CompareReport): string {
  if (report.accounting.length === 0) return "";
  const counted = (each: { pinnedBytes: number; lockedBytes: number }): string =>
    `${formatBytes(each.pinnedBytes)} / ${formatBytes(each.lockedBytes)}`;
  return (
    heading(
      "Accounting of pinned memory",
      "What /proc/self/status gained as VmPin / VmLck. The memlock limit applies to it, but not to a process with CAP_IPC_LOCK.",
    ) +
    table(
      ["backend", "mapped", "once", "the same memory twice", "copied to a second address space"],
      report.accounting.map((each) => [
        each.backend,
        formatBytes(each.mappedBytes),
        counted(each.once),
        counted(each.twice),
        each.copied === null ? "not possible" : counted(each.copied),
      ]),
      1,
    )
  );
}

function mappingTable(report: CompareReport): string {
  if (report.mapping.length === 0) return "";
  return (
    heading("All mapping times", "Medians. The library's cost is that of map and unmap together.") +
    table(
      ["pages", "size", "backend", "map", "unmap", "library map", "library unmap", "library cost"],
      sortedMapping(report).map((each) => [
        formatBytes(each.pageBytes),
        formatBytes(each.sizeBytes),
        each.backend,
        formatTime(each.bareMap.median),
        formatTime(each.bareUnmap.median),
        formatTime(each.libraryMap.median),
        formatTime(each.libraryUnmap.median),
        formatTime(each.libraryCost),
      ]),
      3,
    )
  );
}

function featureTable(report: CompareReport, backends: readonly ComparedBackend[]): string {
  return (
    heading("What each can do here", "Asked of this kernel, with this device.") +
    table(
      ["", ...backends],
      report.features.map(({ name, values }) => [
        name,
        ...backends.map((backend) => values[backend] ?? "no"),
      ]),
      backends.length + 1,
    )
  );
}

function missing(report: CompareReport): string {
  const lines = [
    ...report.backends.flatMap(({ name, reason }) => (reason === null ? [] : [`${name}: ${reason}`])),
    ...report.notMeasured.map(
      ({ what, backend, reason }) => `${what}${backend === null ? "" : ` (${backend})`}: ${reason}`,
    ),
  ];
  if (lines.length === 0) return "";
  const items = lines.map((line) => `<li>${escapeHtml(line)}</li>`).join("");
  return `${heading("Not measured")}<section class="card"><ul class="missing">${items}</ul></section>`;
}
