/** The report as tables for a terminal. */
import { hexDigits } from "../../core/hex-digits.js";
import { visible } from "../../core/visible.js";
import { table } from "../table.js";
import type { ComparedBackend, CompareReport } from "./report.js";
import type { Summary } from "./statistics.js";
import { formatBytes, formatCount, formatTime } from "./units.js";

const median = (summary: Summary | null | undefined): string =>
  summary === null || summary === undefined ? "-" : formatTime(summary.median);

function section(title: string, body: string): string {
  return `${title}\n${"=".repeat(title.length)}\n${body}\n`;
}

export function renderText(report: CompareReport): string {
  const parts = [
    section(
      "Machine",
      facts(report)
        .map(([name, value]) => `${name.padEnd(10)} ${visible(value)}`)
        .join("\n"),
    ),
  ];
  const add = (title: string, header: readonly string[], rows: string[][], textColumns = 1): void => {
    if (rows.length > 0) parts.push(section(title, table(header, rows, textColumns)));
  };
  add(
    "Opening",
    ["backend", "to a mapped page", "to the first DMA"],
    report.opening.map(({ backend, toMapped, toFirstDma }) => [
      backend,
      median(toMapped),
      median(toFirstDma),
    ]),
  );
  add(
    "Map and unmap (medians)",
    ["pages", "size", "backend", "bare map", "bare unmap", "library map", "library unmap", "library cost"],
    sortedMapping(report).map((each) => [
      formatBytes(each.pageBytes),
      formatBytes(each.sizeBytes),
      each.backend,
      median(each.bareMap),
      median(each.bareUnmap),
      median(each.libraryMap),
      median(each.libraryUnmap),
      formatTime(each.libraryCost),
    ]),
    3,
  );
  add(
    "Many small mappings against a large one",
    ["backend", "bytes", "pieces", "map many", "map one", "unmap many", "unmap one"],
    report.manyOrOne.map((each) => [
      each.backend,
      formatBytes(each.totalBytes),
      formatBytes(each.pieceBytes),
      median(each.manyMap),
      median(each.oneMap),
      median(each.manyUnmap),
      median(each.oneUnmap),
    ]),
  );
  add(
    "Removing all mappings",
    ["backend", "mappings", "in one call", "one by one"],
    report.unmapAll.map((each) => [
      each.backend,
      formatCount(each.mappings),
      median(each.inOneCall),
      median(each.oneByOne),
    ]),
  );
  add(
    "A second device or address space",
    ["backend", "how", "mappings", "time"],
    report.secondSpace.map((each) => [
      each.backend,
      methodNames[each.method],
      formatCount(each.mappings),
      median(each.time),
    ]),
    2,
  );
  add(
    "Accounting of pinned memory",
    ["backend", "mapped", "VmPin", "VmLck", "VmPin, mapped twice", "VmLck, mapped twice", "VmPin, copied"],
    report.accounting.map(({ backend, mappedBytes, once, twice, copied }) => [
      backend,
      formatBytes(mappedBytes),
      formatBytes(once.pinnedBytes),
      formatBytes(once.lockedBytes),
      formatBytes(twice.pinnedBytes),
      formatBytes(twice.lockedBytes),
      copied === null ? "-" : formatBytes(copied.pinnedBytes),
    ]),
  );
  add(
    "NVMe random reads",
    ["backend", "bytes", "latency", "p99", "reads/s", "depth"],
    report.nvme.map(({ backend, readBytes, latency, readsPerSecond, depth }) => [
      backend,
      formatBytes(readBytes),
      median(latency),
      formatTime(latency.p99),
      formatCount(readsPerSecond.median),
      String(depth),
    ]),
  );
  const columns = availableBackends(report);
  add(
    "What each can do here",
    ["feature", ...columns],
    report.features.map(({ name, values }) => [name, ...columns.map((backend) => values[backend] ?? "no")]),
    columns.length + 1,
  );
  const missing = [
    ...report.backends.flatMap(({ name, reason }) => (reason === null ? [] : [`${name}: ${reason}`])),
    ...report.notMeasured.map(
      ({ what, backend, reason }) => `${what}${backend === null ? "" : ` (${backend})`}: ${reason}`,
    ),
  ];
  if (missing.length > 0)
    parts.push(section("Not measured", missing.map((line) => `- ${visible(line)}`).join("\n")));
  parts.push(section("Found", report.findings.map((line) => `- ${visible(line)}`).join("\n")));
  return parts.join("\n");
}

export const methodNames: Readonly<Record<CompareReport["secondSpace"][number]["method"], string>> = {
  "map-again": "map all again",
  copy: "copy the mappings",
  attach: "attach to the same one",
};

export function availableBackends({ backends }: CompareReport): ComparedBackend[] {
  return backends.filter(({ available }) => available).map(({ name }) => name);
}

/** Sorted by pages, then by size, so that backends are next to each other. */
export function sortedMapping({ mapping }: CompareReport): CompareReport["mapping"] {
  return [...mapping].sort((a, b) => a.pageBytes - b.pageBytes || a.sizeBytes - b.sizeBytes);
}

/** Machine, device and method, for people. */
export function facts({
  machine,
  device,
  secondDevice,
  rounds,
  quick,
  seconds,
}: CompareReport): [string, string][] {
  const pools = machine.hugePages.map(
    ({ pageBytes, total, free }) => `${free} of ${total} of ${formatBytes(pageBytes)} free`,
  );
  return [
    [
      "Device",
      `${device.bdf} (${hexDigits(device.vendorId, 4)}:${hexDigits(device.deviceId, 4)}, class ${hexDigits(device.classCode, 6)}), IOMMU group ${device.iommuGroup ?? "none"}${secondDevice === null ? "" : `; second device ${secondDevice}`}`,
    ],
    ["CPU", `${machine.cpus} x ${machine.cpu}, ${machine.architecture}`],
    ["Host", machine.hypervisor === null ? "no hypervisor found" : `virtual: ${machine.hypervisor}`],
    [
      "Memory",
      `${formatBytes(machine.memoryBytes)}, ${formatBytes(machine.availableBytes)} available; huge pages: ${pools.join(", ") || "none"}; transparent: ${machine.transparentHugePages}; memlock limit ${machine.memlockBytes === null ? "none" : formatBytes(machine.memlockBytes)}`,
    ],
    [
      "IOMMU",
      `${machine.iommus.join(", ") || "none"}${machine.parameters.length > 0 ? `; booted with ${machine.parameters.join(" ")}` : ""}`,
    ],
    ["Software", `Linux ${machine.kernel}, Node ${machine.node}, iova ${machine.iova}`],
    [
      "Method",
      `${rounds} rounds${quick ? " (quick)" : ""}, the backends in turns; medians; ${Math.round(seconds)} s in all`,
    ],
  ];
}
