/** Writes and reads an NVMe namespace, and compares. */
import { randomFillSync } from "node:crypto";
import type { NvmeController } from "../../src/index.js";

/** Writes and reads namespace 1, by many commands at once over all queues and by one at a time. */
export async function roundTrip(nvme: NvmeController, commands = 64): Promise<"same" | "different"> {
  const ns = await nvme.namespace(1);
  const length = ns.blockSizeBytes;
  using source = nvme.dma.alloc(commands * length);
  using target = nvme.dma.alloc(commands * length);
  randomFillSync(source.bytes);
  const all = Array.from(
    { length: commands },
    (_, i) => [BigInt(i), { offset: i * length, length }] as const,
  );
  await Promise.all(all.map(([lba, at]) => ns.write(lba, source, at)));
  await Promise.all(all.map(([lba, at]) => ns.read(lba, target, at)));
  for (const [lba, at] of all.slice(0, 3)) {
    await ns.flush();
    await ns.read(lba, target, at);
  }
  return Buffer.compare(source.bytes, target.bytes) === 0 ? "same" : "different";
}
