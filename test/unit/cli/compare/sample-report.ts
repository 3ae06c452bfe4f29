/** A report of `iova compare` for tests. */
import {
  type ComparedBackend,
  type CompareReport,
  reportSchema,
  SCHEMA,
} from "../../../../src/cli/compare/report.js";
import { type Summary, summarize } from "../../../../src/cli/compare/statistics.js";

function around(median: number): Summary {
  const summary = summarize([0.8, 0.9, 1, 1.1, 1.3].map((factor) => median * factor));
  if (summary === undefined) throw new Error("no samples");
  return summary;
}

const times: readonly (readonly [ComparedBackend, number])[] = [
  ["iommufd", 1000],
  ["type1", 2000],
];

/** A report of two backends, of which type1 takes twice as long in everything, on a machine with an awkward name. */
export function sampleReport(change: Partial<CompareReport> = {}): CompareReport {
  return reportSchema.parse({
    schema: SCHEMA,
    createdAt: "2026-01-02T03:04:05.678Z",
    quick: false,
    rounds: 9,
    seconds: 61.5,
    machine: {
      hostname: `<b>"tricky" & co</b>`,
      cpu: "A CPU",
      cpus: 2,
      hypervisor: null,
      memoryBytes: 2 ** 33,
      availableBytes: 2 ** 32,
      transparentHugePages: "madvise",
      hugePages: [{ pageBytes: 2 ** 21, total: 8, free: 4 }],
      memlockBytes: 2 ** 23,
      kernel: "7.3.4",
      architecture: "x64",
      parameters: ["intel_iommu=on"],
      iommus: ["dmar0"],
      node: "20.20.2",
      iova: "0.1.0",
    },
    device: { bdf: "0000:00:01.0", vendorId: 0x1b36, deviceId: 0x10, classCode: 0x010802, iommuGroup: 1 },
    secondDevice: null,
    backends: [
      { name: "iommufd", available: true, reason: null },
      { name: "type1", available: true, reason: null },
      { name: "noiommu", available: false, reason: "it has an IOMMU" },
    ],
    opening: times.map(([backend, ns]) => ({
      backend,
      toMapped: around(ns * 1e3),
      toFirstDma: around(ns * 1e4),
    })),
    mapping: times.flatMap(([backend, ns]) =>
      [
        [4096, 4096],
        [4096, 2 ** 21],
        [4096, 2 ** 30],
        [2 ** 21, 2 ** 21],
      ].map(([pageBytes = 0, sizeBytes = 0]) => ({
        backend,
        pageBytes,
        sizeBytes,
        bareMap: around((ns * sizeBytes) / pageBytes),
        bareUnmap: around((ns * sizeBytes) / pageBytes / 2),
        libraryMap: around((ns * sizeBytes) / pageBytes + 200),
        libraryUnmap: around((ns * sizeBytes) / pageBytes / 2 + 100),
        libraryCost: 300,
      })),
    ),
    manyOrOne: times.map(([backend, ns]) => ({
      backend,
      totalBytes: 2 ** 24,
      pieceBytes: 4096,
      manyMap: around(ns * 4096),
      manyUnmap: around(ns * 4000),
      oneMap: around(ns * 64),
      oneUnmap: around(ns * 32),
    })),
    unmapAll: times.map(([backend, ns]) => ({
      backend,
      mappings: 4096,
      sizeBytes: 4096,
      inOneCall: around(ns * 1000),
      oneByOne: around(ns * 4000),
    })),
    secondSpace: [
      { backend: "iommufd", method: "copy", mappings: 4096, sizeBytes: 4096, time: around(1e6) },
      { backend: "iommufd", method: "map-again", mappings: 4096, sizeBytes: 4096, time: around(4e6) },
    ],
    accounting: [
      {
        backend: "iommufd",
        mappedBytes: 2 ** 24,
        once: { pinnedBytes: 2 ** 24, lockedBytes: 0 },
        twice: { pinnedBytes: 2 ** 25, lockedBytes: 0 },
        copied: { pinnedBytes: 2 ** 24, lockedBytes: 0 },
      },
    ],
    nvme: times.map(([backend]) => ({
      backend,
      readBytes: 4096,
      latency: around(10_000),
      depth: 32,
      readsPerSecond: around(500_000),
    })),
    features: [{ name: "Dirty page tracking", values: { iommufd: "yes", type1: "no" } }],
    notMeasured: [
      { what: "mapping 1 GiB pages", backend: null, reason: "no huge pages of this size are free" },
    ],
    findings: [],
    ...change,
  });
}
