/**
 * The controller memory buffer (CMB): rings, PRP lists and data in the controller's own memory. NVMe over PCIe Transport, "Controller
 * Memory Buffer"; registers CMBLOC, CMBSZ, CMBMSC.
 */
import type { DmaBuffer } from "iova";
import { AdminOpcode, IoOpcode } from "iova/nvme";
import { Bench, claim, expectSuccess, send } from "./bench.js";

await using bench = await Bench.open();
const { raw, bar } = bench;
if (raw.capabilities.cmbs) await useBuffer();
else console.log("  it has no controller memory buffer (CAP.CMBS)");

async function useBuffer(): Promise<void> {
  const admin = await bench.start();

  // CMBLOC and CMBSZ read as 0 until CMBMSC.CRE is set. This sets it, and gives the buffer an address for commands.
  claim("CMBSZ is hidden before CMBMSC.CRE is set", bar.read32(0x3c) === 0 || bar.read32(0x50) !== 0);
  const cmb = raw.controllerMemoryBuffer();
  const { properties } = cmb;
  claim("CMBMSC keeps the address", (bar.read64(0x50) & ~0xfffn) === cmb.base, cmb.base.toString(16));
  claim("CMBSTS.CBAI is 0: the address is valid", (bar.read32(0x58) & 1) === 0);
  console.log(`  ${cmb.sizeBytes} bytes in BAR ${properties.bar}`, properties);

  /** Words of two buffers. A CMB is touched word by word: a virtual machine may carry out no wider access. */
  const sameWords = (one: DmaBuffer, other: DmaBuffer, count: number): boolean => {
    for (let i = 0; i < count; i++) if (one.memory.words[i] !== other.memory.words[i]) return false;
    return true;
  };
  const wanted = bench.alloc(8192);
  const host = bench.alloc(4096);
  const own: DmaBuffer[] = [wanted, host];
  const identify = { opcode: AdminOpcode.identify, cdw10: 1 };
  await expectSuccess(admin, { ...identify, prp1: wanted.iova });

  // Data: the controller writes Identify into its own buffer, and the host reads it through the BAR.
  if (properties.reads) {
    const page = cmb.alloc(4096);
    own.push(page);
    await expectSuccess(admin, { ...identify, prp1: page.iova });
    claim("data in the buffer are those in host memory", sameWords(page, wanted, 1024));
  }

  // Queues: both rings in the buffer. The host writes entries and reads completions through the BAR.
  if (properties.submissionQueues && properties.completionQueues) {
    const [cqMemory, sqMemory] = [cmb.alloc(4096), cmb.alloc(4096)];
    own.push(cqMemory, sqMemory);
    const cq = raw.completionQueue({ id: 1, entries: 16, memory: cqMemory });
    const sq = raw.submissionQueue(cq, { id: 1, entries: 16, memory: sqMemory });
    const cdw10 = (15 << 16) | 1;
    const { createIoCompletionQueue: createCq, createIoSubmissionQueue: createSq } = AdminOpcode;
    await expectSuccess(admin, { opcode: createCq, prp1: cqMemory.iova, cdw10, cdw11: 1 });
    await expectSuccess(admin, { opcode: createSq, prp1: sqMemory.iova, cdw10, cdw11: (1 << 16) | 1 });
    const read = { opcode: IoOpcode.read, nsid: 1, prp1: host.iova };
    claim("a queue in the buffer executes a read", (await send(sq, read)).status === 0);
    // Lists: a PRP list in the buffer, for pages in host memory. 24 blocks of 512 bytes are three pages.
    if (properties.lists) {
      const list = cmb.alloc(4096);
      own.push(list);
      const pages = [wanted.iovaLow, wanted.iovaHigh, wanted.iovaLow + 4096, wanted.iovaHigh];
      for (const [i, word] of pages.entries()) list.memory.words[i] = word;
      const { status } = await send(sq, { ...read, prp2: list.iova, cdw12: 23 });
      claim("a PRP list in the buffer describes three pages", status === 0, status.toString(16));
    }
  }
  await bench.stop();
  raw.close();
  for (const buffer of own) buffer.close();
}
