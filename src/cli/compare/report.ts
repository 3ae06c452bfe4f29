/**
 * The report of `iova compare`, as `--json` prints it. It is stable within one schema number. Times are nanoseconds, sizes bytes.
 * docs/compare.md explains every part.
 */
import * as z from "zod/mini";
import { integer } from "../../core/options.js";

/** Raised by every change that a reader of the JSON could notice. */
export const SCHEMA = 1;

/** The ways to an address space that are compared. */
export const comparedBackends = ["iommufd", "type1", "iommufd-compat", "noiommu"] as const;
const backend = z.enum(comparedBackends);
export type ComparedBackend = z.output<typeof backend>;

const bytes = integer(0);
const summary = z.object({
  samples: integer(1),
  min: z.number(),
  p25: z.number(),
  median: z.number(),
  p75: z.number(),
  p99: z.number(),
  max: z.number(),
});

const machine = z.object({
  hostname: z.string(),
  cpu: z.string(),
  cpus: integer(1),
  /** The hypervisor or emulator; null if none was found. */
  hypervisor: z.nullable(z.string()),
  memoryBytes: bytes,
  availableBytes: bytes,
  transparentHugePages: z.string(),
  hugePages: z.array(z.object({ pageBytes: bytes, total: z.int(), free: z.int() })),
  /** RLIMIT_MEMLOCK; null if there is no limit. */
  memlockBytes: z.nullable(bytes),
  kernel: z.string(),
  architecture: z.string(),
  /** Parameters of the kernel's command line for the IOMMU and huge pages. */
  parameters: z.array(z.string()),
  /** Names in /sys/class/iommu. */
  iommus: z.array(z.string()),
  node: z.string(),
  iova: z.string(),
});
export type Machine = z.output<typeof machine>;

const device = z.object({
  bdf: z.string(),
  vendorId: z.int(),
  deviceId: z.int(),
  classCode: z.int(),
  iommuGroup: z.nullable(z.int()),
});

const opening = z.object({
  backend,
  /** From opening until 4 KiB are mapped for the device. */
  toMapped: summary,
  /** From opening until the device has written to memory: NVMe controllers and QEMU's edu. */
  toFirstDma: z.nullable(summary),
});

const mapping = z.object({
  backend,
  pageBytes: bytes,
  sizeBytes: bytes,
  /** The bare ioctl, with a request that was prepared. */
  bareMap: summary,
  bareUnmap: summary,
  /** DmaSpace.map() and DmaBuffer.close(). */
  libraryMap: summary,
  libraryUnmap: summary,
  /** Medians: library map and unmap, less the bare ones. */
  libraryCost: z.number(),
});
export type MappingResult = z.output<typeof mapping>;

const manyOrOne = z.object({
  backend,
  totalBytes: bytes,
  pieceBytes: bytes,
  manyMap: summary,
  manyUnmap: summary,
  oneMap: summary,
  oneUnmap: summary,
});
const unmapAll = z.object({
  backend,
  mappings: z.int(),
  sizeBytes: bytes,
  inOneCall: z.nullable(summary),
  oneByOne: summary,
});

export const fillMethods = ["map-again", "copy", "attach"] as const;
const secondSpace = z.object({
  backend,
  /** How a second device or address space got the mappings of the first. */
  method: z.enum(fillMethods),
  mappings: z.int(),
  sizeBytes: bytes,
  time: summary,
});

const accounting = z.object({
  backend,
  mappedBytes: bytes,
  /** Increase in /proc/self/status after mapping once, mapping the same memory again, and copying the mapping. */
  once: z.object({ pinnedBytes: z.int(), lockedBytes: z.int() }),
  twice: z.object({ pinnedBytes: z.int(), lockedBytes: z.int() }),
  copied: z.nullable(z.object({ pinnedBytes: z.int(), lockedBytes: z.int() })),
});

const nvme = z.object({
  backend,
  readBytes: bytes,
  /** One read at a time. */
  latency: summary,
  depth: z.int(),
  /** Reads a second with `depth` outstanding. */
  readsPerSecond: summary,
});

const feature = z.object({
  name: z.string(),
  values: z.partialRecord(backend, z.string()),
});

/** The whole report. */
export const reportSchema = z.object({
  schema: z.literal(SCHEMA),
  createdAt: z.string(),
  quick: z.boolean(),
  rounds: integer(1),
  seconds: z.number(),
  machine,
  device,
  secondDevice: z.nullable(z.string()),
  backends: z.array(z.object({ name: backend, available: z.boolean(), reason: z.nullable(z.string()) })),
  opening: z.array(opening),
  mapping: z.array(mapping),
  manyOrOne: z.array(manyOrOne),
  unmapAll: z.array(unmapAll),
  secondSpace: z.array(secondSpace),
  accounting: z.array(accounting),
  nvme: z.array(nvme),
  features: z.array(feature),
  /** What could not be measured, with the reason. */
  notMeasured: z.array(z.object({ what: z.string(), backend: z.nullable(backend), reason: z.string() })),
  /** The findings, as sentences. */
  findings: z.array(z.string()),
});

export type CompareReport = z.output<typeof reportSchema>;
export type NotMeasured = CompareReport["notMeasured"][number];
