/**
 * Measures map and unmap of 4 KiB, in turns: a C program, the library's lowest typed layer (Ioas, VfioContainer), and DmaSpace.
 * All of them work on one descriptor and one address space, with one device (edu) attached.
 */
import { readFileSync } from "node:fs";
import { IoasMapper, Iommufd } from "../../src/doors/iommufd.js";
import { ContainerMapper, VfioContainer, VfioDevice, VfioGroup } from "../../src/doors/vfio.js";
import { bindToVfio, DmaSpace, listPciFunctions, MappedMemory } from "../../src/index.js";
import { CProgram, compileC } from "../c-program.js";
import { inProcess, type Measured, measureInTurns, type Way } from "../rounds.js";

const PAGE = 4096;
const ROUNDS = 301;
const CYCLES = 40;
/** The first thousand buffers get a stack trace each, which takes 10 ms under emulation, so they don't count as warm-up. */
const WARM_UP_CYCLES = 20_000;
/** Addresses on type1 of the C program and of the library, apart from each other and from the allocator's first choices. */
const C_IOVA = 0x2000_0000;
const OUR_IOVA = 0x1000_0000n;

/** Ratios to C that the library promises, for its lowest layer and DmaSpace. */
const LIMITS: Readonly<Record<string, number>> = { lowest: 1.3, "DmaSpace.map + close": 1.5 };

interface Backend {
  readonly name: string;
  readonly fd: number;
  /** Arguments of the C program besides the descriptor. */
  readonly kind: string;
  readonly target: number;
  readonly lowest: Way;
  readonly space: DmaSpace;
  close(): void;
}

function openIommufd(bdf: string, memory: MappedMemory): Backend {
  const iommufd = Iommufd.open();
  const ioas = iommufd.allocIoas();
  const device = VfioDevice.openCdev(bdf);
  device.bind(iommufd);
  device.attach(ioas);
  return {
    name: "iommufd",
    fd: iommufd.fd,
    kind: "iommufd",
    target: ioas.id,
    lowest: inProcess("Ioas.map + unmap", () => {
      ioas.unmap(ioas.map(memory), PAGE);
    }),
    space: new DmaSpace(new IoasMapper(ioas)),
    // Keeps the device, too: if it were collected and closed, mapping would reach no IOMMU and cost nothing.
    close: () => {
      device.close();
      iommufd.close();
    },
  };
}

function openType1(bdf: string, memory: MappedMemory): Backend {
  const container = VfioContainer.open();
  const group = VfioGroup.openFor(bdf);
  group.setContainer(container);
  container.setIommu("type1v2");
  return {
    name: "type1",
    fd: container.fd,
    kind: "type1",
    target: C_IOVA,
    lowest: inProcess("VfioContainer.map + unmap", () => {
      container.map(memory, OUR_IOVA, "read-write");
      container.unmap(OUR_IOVA, PAGE);
    }),
    space: new DmaSpace(new ContainerMapper(container)),
    close: () => {
      container.close();
      group.close();
    },
  };
}

async function measure(backend: Backend, memory: MappedMemory, program: string): Promise<Measured[]> {
  const c = new CProgram(program, [backend.kind, "3", String(backend.target)], [backend.fd]);
  try {
    const ways: Way[] = [
      { name: "C", run: (cycles) => c.run(cycles) },
      backend.lowest,
      inProcess("DmaSpace.map + close", () => backend.space.map(memory).close()),
    ];
    return await measureInTurns(ways, ROUNDS, CYCLES, WARM_UP_CYCLES);
  } finally {
    await c.end();
  }
}

function report(backend: string, measured: readonly Measured[]): boolean {
  let good = true;
  for (const { name, medianNs, ratio, quietRatio } of measured) {
    const limit = name === "C" ? undefined : (LIMITS[name] ?? LIMITS["lowest"] ?? 0);
    const verdict = limit === undefined ? "" : `  at most ${limit}: ${ratio <= limit ? "yes" : "NO"}`;
    if (limit !== undefined && ratio > limit) good = false;
    const time = `${(medianNs / 1000).toFixed(2)} us`.padStart(11);
    process.stdout.write(
      `${backend.padEnd(8)} ${name.padEnd(26)} ${time}  ${ratio.toFixed(2)} of C, best tenth ${quietRatio.toFixed(2)}${verdict}\n`,
    );
  }
  return good;
}

const edu = listPciFunctions().find(({ vendorId, deviceId }) => vendorId === 0x1234 && deviceId === 0x11e8);
if (edu === undefined) throw new Error("this machine has no edu device: run it in the guest");

process.stdout.write(
  `4 KiB map + unmap, medians of ${ROUNDS} rounds of ${CYCLES} cycles in turns; ` +
    `Linux ${readFileSync("/proc/sys/kernel/osrelease", "utf8").trim()}, Node ${process.versions.node}\n`,
);
using compiled = compileC("map-unmap/map-unmap.c");
using binding = bindToVfio(edu.bdf);
using memory = MappedMemory.anonymous(PAGE, { populate: true });
let good = true;
for (const open of [openIommufd, openType1]) {
  const backend = open(binding.bdf, memory);
  try {
    good = report(backend.name, await measure(backend, memory, compiled.program)) && good;
  } finally {
    backend.close();
  }
}
process.exitCode = good ? 0 : 1;
