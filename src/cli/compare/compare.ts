/**
 * Compares the backends on one device. Only one of them can have the device at a time, so every round opens each in turn,
 * in a different order, so that a drift affects all of them.
 */

import { BusyError, IovaError, UnsupportedError } from "../../core/errors.js";
import { NVME_CLASS } from "../../nvme/class-code.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { driverOf, listPciFunctions, type PciFunction, readPciFunction } from "../../pci/sysfs.js";
import { holdersText, vfioHolders } from "../../pci/usage/holders.js";
import { MappedMemory } from "../../sys/memory.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import { openAddressSpace } from "./address-space.js";
import { isEdu, timeEduDma } from "./edu-dma.js";
import { type FeatureAnswers, probeFeatures } from "./features.js";
import { FillingMeasurement } from "./filling.js";
import { findings } from "./findings.js";
import { describeMachine } from "./machine.js";
import { type MappingCase, MappingMeasurement, prepareCases, warmUp } from "./mapping.js";
import { NvmeMeasurement } from "./nvme-reads.js";
import {
  type ComparedBackend,
  type CompareReport,
  comparedBackends,
  type NotMeasured,
  SCHEMA,
} from "./report.js";
import { SampleBook } from "./statistics.js";

const VFIO_PCI = "vfio-pci";
const MIB = 1024 * 1024;

/** How thorough a comparison is. */
const plans = {
  quick: {
    rounds: 2,
    // More than the buffers that get a stack trace each, see dma/call-site.ts.
    warmUp: 1100,
    repetitions: 2,
    fillBytes: MIB,
    reads: { singleReads: 100, deepReads: 500 },
  },
  full: {
    rounds: 9,
    warmUp: 2000,
    repetitions: 8,
    fillBytes: 16 * MIB,
    reads: { singleReads: 1000, deepReads: 10_000 },
  },
} as const;

export interface CompareOptions {
  /** PCI address; by default the first device bound to vfio-pci. */
  readonly bdf?: string | undefined;
  /** Two short rounds up to 2 MiB, which only show that it works. */
  readonly quick?: boolean | undefined;
  /** Called with the current step, and the progress from 0 to 1. */
  readonly onProgress?: (what: string, done: number) => void;
}

/** @throws ArgumentError, UnsupportedError (not bound to vfio-pci, or no backend works), BusyError (in use), SysError */
export async function compare(options: CompareOptions = {}): Promise<CompareReport> {
  const fn = chooseDevice(options.bdf);
  const second = secondDevice(fn);
  const quick = options.quick === true;
  const plan = quick ? plans.quick : plans.full;
  const progress = options.onProgress ?? ((): void => {});
  const started = process.hrtime.bigint();
  const machine = describeMachine();
  const notMeasured: NotMeasured[] = [];
  const features = new Map<ComparedBackend, FeatureAnswers>();

  progress("opening the device through each backend", 0);
  const backends = comparedBackends.map((name) => {
    const reason = whyNot(name, fn.bdf, features);
    return { name, available: reason === null, reason };
  });
  const usable = backends.filter(({ available }) => available).map(({ name }) => name);
  if (usable.length === 0) {
    const reasons = backends.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
    throw new UnsupportedError(`${fn.bdf} can't be opened through any backend. ${reasons}`);
  }

  progress("allocating memory", 0);
  const fillMemory = MappedMemory.anonymous(plan.fillBytes, { populate: true });
  const page = MappedMemory.anonymous(PAGE_SIZE, { populate: true });
  let cases: MappingCase[] = [];
  const opening = new SampleBook<ComparedBackend>();
  const firstDma = new SampleBook<ComparedBackend>();
  const nvme = new NvmeMeasurement();
  try {
    cases = prepareCases(quick, notMeasured);
    const mapping = new MappingMeasurement(cases, notMeasured);
    const filling = new FillingMeasurement(fillMemory, second, notMeasured);
    for (const backend of usable) {
      progress(`warming up ${backend}`, 0);
      const space = openAddressSpace(backend, fn.bdf);
      try {
        warmUp(space, cases, plan.warmUp);
      } finally {
        space.close();
      }
    }
    const steps = plan.rounds * usable.length;
    for (let round = 0; round < plan.rounds; round++) {
      for (let turn = 0; turn < usable.length; turn++) {
        const backend = usable[(turn + round) % usable.length] ?? "iommufd";
        progress(`round ${round + 1} of ${plan.rounds}: ${backend}`, (round * usable.length + turn) / steps);
        // Closing is synchronous: the device is free for the next backend.
        const start = process.hrtime.bigint();
        const space = openAddressSpace(backend, fn.bdf);
        try {
          space.bare.map(0, page.address, page.sizeBytes);
          opening.add(backend, Number(process.hrtime.bigint() - start));
          space.bare.unmap(0, page.sizeBytes);
          mapping.measure(backend, space, plan.repetitions);
          filling.measure(backend, space);
        } finally {
          space.close();
        }
        await driveDevice(fn, nvme, backend, plan.reads, firstDma, notMeasured);
        // Lets signals and timers run.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    progress("done", 1);
    const report: CompareReport = {
      schema: SCHEMA,
      createdAt: new Date().toISOString(),
      quick,
      rounds: plan.rounds,
      seconds: Number(process.hrtime.bigint() - started) / 1e9,
      machine,
      device: {
        bdf: fn.bdf,
        vendorId: fn.vendorId,
        deviceId: fn.deviceId,
        classCode: fn.classCode,
        iommuGroup: fn.iommuGroup ?? null,
      },
      secondDevice: second ?? null,
      backends,
      opening: usable.flatMap((backend) => {
        const toMapped = opening.get(backend);
        return toMapped === undefined
          ? []
          : [{ backend, toMapped, toFirstDma: firstDma.get(backend) ?? null }];
      }),
      mapping: mapping.results(),
      ...filling.results(),
      nvme: nvme.results(),
      features: matrix(features),
      notMeasured,
      findings: [],
    };
    return { ...report, findings: findings(report) };
  } finally {
    for (const { memory } of cases) memory.close();
    page.close();
    fillMemory.close();
  }
}

/** Why a backend can't be used, or null. Notes its features while the device is open. */
function whyNot(
  backend: ComparedBackend,
  bdf: string,
  features: Map<ComparedBackend, FeatureAnswers>,
): string | null {
  try {
    const space = openAddressSpace(backend, bdf);
    try {
      features.set(backend, probeFeatures(space));
    } finally {
      space.close();
    }
    return null;
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    return error.message;
  }
}

/**
 * Measures the first DMA, and reads of an NVMe controller. A failure counts only if no round succeeded: in no-IOMMU mode it
 * is chance whether a device reaches the memory.
 * @param firstDma gets the nanoseconds from nothing until the first DMA
 */
async function driveDevice(
  fn: PciFunction,
  nvme: NvmeMeasurement,
  backend: ComparedBackend,
  reads: (typeof plans)[keyof typeof plans]["reads"],
  firstDma: SampleBook<ComparedBackend>,
  notMeasured: NotMeasured[],
): Promise<void> {
  const isNvme = fn.classCode === NVME_CLASS;
  const what = isNvme ? "NVMe reads" : "time to the first DMA";
  const isKnown = notMeasured.some((each) => each.what === what && each.backend === backend);
  if (isKnown) return;
  try {
    if (isNvme) firstDma.add(backend, await nvme.measure(backend, fn.bdf, reads));
    else if (isEdu(fn)) firstDma.add(backend, await timeEduDma(backend, fn.bdf));
    else {
      const reason = "compare can start a DMA only on NVMe controllers and QEMU's edu";
      notMeasured.push({ what, backend, reason });
    }
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    if (firstDma.get(backend) !== undefined) return;
    notMeasured.push({ what, backend, reason: error.message });
  }
}

/** @throws ArgumentError (no such device), UnsupportedError (not bound to vfio-pci), BusyError (another process has it) */
function chooseDevice(bdf: string | undefined): PciFunction {
  const fn =
    bdf === undefined
      ? listPciFunctions().find(({ driver }) => driver === VFIO_PCI)
      : readPciFunction(parseBdf(bdf));
  if (fn === undefined) {
    throw new UnsupportedError(
      "no device is bound to vfio-pci. Bind one that is not in use (iova list shows them; sudo iova bind BDF), " +
        "or measure in a QEMU guest with iova compare --guest",
    );
  }
  if (fn.driver !== VFIO_PCI) {
    throw new UnsupportedError(
      `${fn.bdf} is bound to ${fn.driver ?? "no driver"}, not to vfio-pci: sudo iova bind ${fn.bdf} binds it, ` +
        `and sudo iova unbind ${fn.bdf} gives it back afterwards`,
    );
  }
  const holders = vfioHolders(fn.bdf);
  if (holders.length > 0) {
    throw new BusyError(
      `${fn.bdf} is open in ${holdersText(holders)}: compare needs a device that no process has open`,
    );
  }
  return fn;
}

/** Another device bound to vfio-pci, in another IOMMU group, that no process has open. */
function secondDevice({ bdf, iommuGroup }: PciFunction): string | undefined {
  return listPciFunctions().find(
    (other) =>
      other.bdf !== bdf &&
      driverOf(other.bdf) === VFIO_PCI &&
      other.iommuGroup !== undefined &&
      other.iommuGroup !== iommuGroup &&
      vfioHolders(other.bdf).length === 0,
  )?.bdf;
}

/** One row for each feature, in the order of the answers. */
function matrix(answers: ReadonlyMap<ComparedBackend, FeatureAnswers>): CompareReport["features"] {
  const names = new Set([...answers.values()].flatMap((each) => [...each.keys()]));
  return [...names].map((name) => ({
    name,
    values: Object.fromEntries(
      [...answers].map(([backend, each]) => [backend, each.get(name) ?? "no"] as const),
    ),
  }));
}
