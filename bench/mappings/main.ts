/**
 * Measures how the time of a mapping grows with their number, in turns with a C program that makes the same requests with fixed
 * addresses: one page, mapped by DmaSpace at as many addresses as asked for, with one device (edu) attached.
 */
import { readFileSync } from "node:fs";
import { IoasMapper, Iommufd } from "../../src/doors/iommufd.js";
import { ContainerMapper, VfioContainer, VfioDevice, VfioGroup } from "../../src/doors/vfio.js";
import { bindToVfio, type DmaBuffer, DmaSpace, listPciFunctions, MappedMemory } from "../../src/index.js";
import { CProgram, compileC } from "../c-program.js";
import { median } from "../rounds.js";

const PAGE = 4096;
const PART = 1000;
const ROUNDS = 5;
/** What type1 allows by default (dma_entry_limit) is a little more. */
const COUNTS = { iommufd: 100_000, type1: 60_000 } as const;
/** Aims of the ratio to C, and of the last thousand to the first. */
const AIM = 1.3;

/** Nanoseconds: the first and the last thousand, and all of them; mapping and then unmapping. */
type Times = [
  firstMaps: number,
  lastMaps: number,
  maps: number,
  firstUnmaps: number,
  lastUnmaps: number,
  unmaps: number,
];

interface Backend {
  readonly name: keyof typeof COUNTS;
  readonly space: DmaSpace;
  /** Descriptor and IOAS for the C program. */
  readonly fd: number;
  readonly target: number;
  close(): void;
}

function openIommufd(bdf: string): Backend {
  const iommufd = Iommufd.open();
  const ioas = iommufd.allocIoas();
  const device = VfioDevice.openCdev(bdf);
  device.bind(iommufd);
  device.attach(ioas);
  const close = (): void => {
    device.close();
    iommufd.close();
  };
  return {
    name: "iommufd",
    space: new DmaSpace(new IoasMapper(ioas)),
    fd: iommufd.fd,
    target: ioas.id,
    close,
  };
}

function openType1(bdf: string): Backend {
  const container = VfioContainer.open();
  const group = VfioGroup.openFor(bdf);
  group.setContainer(container);
  container.setIommu("type1v2");
  const close = (): void => {
    container.close();
    group.close();
  };
  return {
    name: "type1",
    space: new DmaSpace(new ContainerMapper(container)),
    fd: container.fd,
    target: 0,
    close,
  };
}

function measured(count: number, step: (i: number) => void): [number, number, number] {
  const start = process.hrtime.bigint();
  let first = start;
  let last = start;
  for (let i = 0; i < count; i++) {
    if (i === PART) first = process.hrtime.bigint();
    if (i === count - PART) last = process.hrtime.bigint();
    step(i);
  }
  const end = process.hrtime.bigint();
  return [Number(first - start), Number(end - last), Number(end - start)];
}

function ours({ space }: Backend, memory: MappedMemory, count: number): Times {
  const buffers: DmaBuffer[] = [];
  const maps = measured(count, () => buffers.push(space.map(memory)));
  // In the order of the C program.
  const unmaps = measured(count, (i) => buffers[i]?.close());
  return [...maps, ...unmaps];
}

async function inC(program: CProgram, count: number): Promise<Times> {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = (await program.ask(String(count)))
    .split(" ")
    .map(Number);
  return [a, b, c, d, e, f];
}

function report(name: string, count: number, all: { readonly c: Times[]; readonly ours: Times[] }): boolean {
  let good = true;
  const us = (ns: number, of: number): string => `${(ns / of / 1000).toFixed(1)} us`;
  for (const [what, at] of [
    ["map", 0],
    ["unmap", 3],
  ] as const) {
    const [cTotal, ownTotal] = [all.c, all.ours].map((times) =>
      median(times.map((each) => each[at + 2] ?? 0)),
    );
    const ratio = median(all.ours.map((each, round) => (each[at + 2] ?? 0) / (all.c[round]?.[at + 2] ?? 0)));
    const growth = median(all.ours.map((each) => (each[at + 1] ?? 0) / (each[at] ?? 0)));
    const cGrowth = median(all.c.map((each) => (each[at + 1] ?? 0) / (each[at] ?? 0)));
    const isGood = ratio <= AIM && growth <= AIM;
    if (!isGood) good = false;
    process.stdout.write(
      `${name.padEnd(8)} ${String(count).padStart(6)} ${what.padEnd(6)} C ${us(cTotal ?? 0, count).padStart(9)}  DmaSpace ` +
        `${us(ownTotal ?? 0, count).padStart(9)}  ${ratio.toFixed(2)} of C;  last thousand by first: C ${cGrowth.toFixed(2)}, ` +
        `DmaSpace ${growth.toFixed(2)}  both at most ${AIM}: ${isGood ? "yes" : "NO"}\n`,
    );
  }
  return good;
}

const counts = process.argv.slice(2).map(Number);
const edu = listPciFunctions().find(({ vendorId, deviceId }) => vendorId === 0x1234 && deviceId === 0x11e8);
if (edu === undefined) throw new Error("this machine has no edu device: run it in the guest");
process.stdout.write(
  `4 KiB mappings, medians of ${ROUNDS} rounds in turns; ` +
    `Linux ${readFileSync("/proc/sys/kernel/osrelease", "utf8").trim()}, Node ${process.versions.node}\n`,
);
using compiled = compileC("mappings/mappings.c");
using binding = bindToVfio(edu.bdf);
using memory = MappedMemory.anonymous(PAGE, { populate: true });
let good = true;
for (const open of [openIommufd, openType1]) {
  const backend = open(binding.bdf);
  const program = new CProgram(compiled.program, [backend.name, "3", String(backend.target)], [backend.fd]);
  try {
    for (const count of counts.length > 0 ? counts : [COUNTS[backend.name]]) {
      const all: { c: Times[]; ours: Times[] } = { c: [], ours: [] };
      // The first round is warm-up: the compiler is slow under emulation.
      for (let round = -1; round < ROUNDS; round++) {
        const turn: Partial<{ c: Times; ours: Times }> = {};
        for (const who of round % 2 === 0 ? (["c", "ours"] as const) : (["ours", "c"] as const)) {
          global.gc?.();
          turn[who] = who === "c" ? await inC(program, count) : ours(backend, memory, count);
        }
        if (round < 0 || turn.c === undefined || turn.ours === undefined) continue;
        all.c.push(turn.c);
        all.ours.push(turn.ours);
      }
      good = report(backend.name, count, all) && good;
    }
  } finally {
    await program.end();
    backend.close();
  }
}
process.exitCode = good ? 0 : 1;
