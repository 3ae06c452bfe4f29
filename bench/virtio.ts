/**
 * Measures 4 KiB random reads of a virtio disk, in turns: by the example's driver with split and packed rings, and by the kernel's
 * driver through fio with io_uring. It only reads.
 *
 *   npm run bench -- virtio [--rounds N] [--seconds S] [--warm-up S] [--depths 1,32]
 */
import { existsSync } from "node:fs";
import { release } from "node:os";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { VirtioBlk } from "../examples/drivers/virtio/blk.js";
import { blockDevices } from "../src/doors/pci.js";
import { bindToVfio, listPciFunctions, PciDevice } from "../src/index.js";
import { fioReads, type Sample } from "./fio.js";
import { median } from "./rounds.js";

const BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;
const VIRTIO = 0x1af4;
const BLOCK_DEVICE = 0x1042;
const MODULUS = 2 ** 32;
const DISK_LIMIT_MS = 60_000;

const { values } = parseArgs({
  options: {
    fio: { type: "string" },
    rounds: { type: "string", default: "6" },
    seconds: { type: "string", default: "3" },
    "warm-up": { type: "string", default: "5" },
    depths: { type: "string", default: "1,32" },
  },
});
const seconds = Number(values.seconds);
const warmUpSeconds = Number(values["warm-up"]);
const rounds = Number(values.rounds);
const bdf = listPciFunctions().find(
  ({ vendorId, deviceId }) => vendorId === VIRTIO && deviceId === BLOCK_DEVICE,
)?.bdf;
if (bdf === undefined || values.fio === undefined)
  throw new Error("this needs a virtio disk and --fio PATH: run it by npm run bench -- virtio");
const address = bdf;
const program = values.fio;

/** Reads by the example's driver, with a promise for each. */
async function ours(depth: number, packed: boolean): Promise<Sample> {
  using binding = bindToVfio(address);
  using device = PciDevice.open(binding.bdf);
  await using disk = await VirtioBlk.start(device, { packed });
  using buffer = device.dma.alloc(depth * BLOCK_BYTES);
  const blocks = (disk.sectors * SECTOR_BYTES) / BLOCK_BYTES;
  let seed = 1;
  let done = 0;
  let isOver = false;
  const reader = async (slot: number): Promise<void> => {
    const extent = { offset: slot * BLOCK_BYTES, length: BLOCK_BYTES };
    while (!isOver) {
      // Numerical Recipes' generator; the upper bits are the random ones.
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const block = Math.floor((seed / MODULUS) * blocks);
      await disk.read((block * BLOCK_BYTES) / SECTOR_BYTES, buffer, extent);
      done++;
    }
  };
  const readers = Array.from({ length: depth }, (_, slot) => reader(slot));
  await setTimeout(warmUpSeconds * 1000);
  const start = performance.now();
  const before = done;
  await setTimeout(seconds * 1000);
  const iops = ((done - before) * 1000) / (performance.now() - start);
  isOver = true;
  await Promise.all(readers);
  return { iops, p999us: undefined };
}

/** Reads by the kernel's driver. */
async function kernels(depth: number): Promise<Sample> {
  return fioReads({ program, file: await disk(), blockBytes: BLOCK_BYTES, depth, seconds, warmUpSeconds });
}

/** The kernel's block device, which comes a moment after its driver. */
async function disk(): Promise<string> {
  for (const end = performance.now() + DISK_LIMIT_MS; performance.now() < end; await setTimeout(50)) {
    const [name] = blockDevices(address);
    if (name !== undefined && existsSync(`/dev/${name}`)) return `/dev/${name}`;
  }
  throw new Error(`the kernel's driver shows no disk of ${address}`);
}

const ways: readonly { readonly name: string; run(depth: number): Promise<Sample> }[] = [
  { name: "fio io_uring", run: kernels },
  { name: "iova, split ring", run: (depth) => ours(depth, false) },
  { name: "iova, packed ring", run: (depth) => ours(depth, true) },
];

process.stdout.write(
  `${address}, ${BLOCK_BYTES} B random reads, Linux ${release()}, Node ${process.versions.node}, ${rounds} rounds of ${seconds} s after ${warmUpSeconds} s of warm-up\n`,
);
for (const depth of values.depths.split(",").map(Number)) {
  const iops = ways.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? [...ways.keys()] : [...ways.keys()].reverse();
    for (const at of order) iops[at]?.push((await ways[at]?.run(depth))?.iops ?? Number.NaN);
  }
  const [reference = []] = iops;
  const cells = ways.map(({ name }, at) => {
    const own = iops[at] ?? [];
    const ratio = median(own.map((value, round) => value / (reference[round] ?? Number.NaN)));
    return `${name} ${median(own).toFixed(0)} IOPS${at === 0 ? "" : ` (${ratio.toFixed(2)} of fio's)`}`;
  });
  process.stdout.write(`QD ${String(depth).padEnd(4)} ${cells.join("   ")}\n`);
}
