/**
 * The admin queue by hand, with nothing between this program and the controller but memory and BAR 0: off, two rings, AQA, ASQ and ACQ,
 * on, one Identify. NVMe Base, "Memory-based Controller Initialization".
 */
import type { DmaBuffer, PciDevice } from "iova";
import { acquire, publish } from "iova/pci";
import { Bench, claim, until } from "./bench.js";

const [CC, CSTS, AQA, ASQ, ACQ, DOORBELLS] = [0x14, 0x1c, 0x24, 0x28, 0x30, 0x1000];
const ENTRIES = 16;

await using bench = await Bench.open();
const device: PciDevice = bench.device;
const bar = device.bar(0);

// 1. The controller may do DMA.
device.config.busMaster = true;

// 2. Off: CC.EN 0, and wait for CSTS.RDY 0. From then on the controller doesn't use the old queues.
bar.write32(CC, 0);
claim("CSTS.RDY becomes 0", await until(() => (bar.read32(CSTS) & 1) === 0));

// 3. Two rings, zeroed: an entry of the completion ring that was never written has phase 0.
const submissions: DmaBuffer = device.dma.alloc(ENTRIES * 64);
const completions: DmaBuffer = device.dma.alloc(ENTRIES * 16);
claim(
  "both rings begin at a memory page",
  submissions.iova % 4096n === 0n && completions.iova % 4096n === 0n,
);

// 4. Where they are, and how long, both zero-based.
bar.write32(AQA, ((ENTRIES - 1) << 16) | (ENTRIES - 1));
bar.write64(ASQ, submissions.iova);
bar.write64(ACQ, completions.iova);

// 5. On: entries of 2^6 and 2^4 bytes, memory pages of 4 KiB, the NVM command set.
bar.write32(CC, (4 << 20) | (6 << 16) | 1);
claim("CSTS.RDY becomes 1", await until(() => (bar.read32(CSTS) & 1) === 1));
claim("CSTS.CFS stays 0", (bar.read32(CSTS) & 2) === 0);

// 6. Identify Controller (opcode 06h, CNS 01h) in entry 0, with command id 7 and its data in one page.
const page = device.dma.alloc(4096);
const sqe = submissions.memory.words;
sqe.fill(0, 0, 16);
sqe[0] = 0x06 | (7 << 16);
sqe[6] = page.iovaLow;
sqe[7] = page.iovaHigh;
sqe[10] = 1;
publish(); // the entry is in memory before its doorbell is written

// 7. The doorbell of queue 0: the new tail.
bar.write32(DOORBELLS, 1);

// 8. The completion is there when the phase bit of entry 0 is 1.
const cqe = completions.memory.words;
claim("a completion comes", await until(() => (((cqe[3] ?? 0) >>> 16) & 1) === 1));
acquire(); // the rest of the entry, and the data, are read after the phase
claim("it is for command id 7, and a success", ((cqe[3] ?? 0) & 0xffff) === 7 && (cqe[3] ?? 0) >>> 17 === 0);
claim("the controller has taken 1 entry (SQHD)", ((cqe[2] ?? 0) & 0xffff) === 1);
console.log("  it is", Buffer.from(page.view(24, 40)).toString().trim());

// 9. The completion queue's doorbell gives the entry back.
bar.write32(DOORBELLS + (4 << Number((bar.read64(0) >> 32n) & 0xfn)), 1);
await bench.stop();
for (const buffer of [submissions, completions, page]) buffer.close();
