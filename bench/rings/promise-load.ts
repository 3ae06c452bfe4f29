/** The same reads with a promise each: namespace.read(), as an application has it, over the queue pair. */
import type { DmaBuffer } from "../../src/dma/buffer.js";
import { type Iova, type IovaRange, iova } from "../../src/dma/iova.js";
import type { DmaMapper } from "../../src/dma/mapper.js";
import { DmaSpace } from "../../src/dma/space.js";
import { QueuePair } from "../../src/nvme/queue-pair.js";
import { Lease } from "../../src/sys/resource.js";
import { ENTRIES, type SharedQueues } from "./device.js";
import { WARM_UP_MS } from "./ring-load.js";

const BLOCK_BYTES = 4096;

/** Stands in for an IOMMU: the simulated controller looks at no address. */
const mapper: DmaMapper = {
  lease: new Lease("bench", () => {}),
  name: "none",
  iovaRanges: () => [{ start: iova(0n), last: iova(2n ** 47n - 1n) }] satisfies IovaRange[],
  alignmentBytes: () => 4096,
  map: (address): Iova => iova(BigInt(address)),
  unmap: () => {},
};

/** Gives the queue pair the shared rings: they are what it asks for first. */
class RingSpace extends DmaSpace {
  private readonly rings = [this.queues.sq, this.queues.cq];

  constructor(private readonly queues: SharedQueues) {
    super(mapper);
  }

  override alloc(sizeBytes: number): DmaBuffer {
    const ring = this.rings.shift();
    return ring === undefined ? super.alloc(sizeBytes) : this.map(ring);
  }
}

/** @returns commands per second */
export async function runPromises(
  queues: SharedQueues,
  depth: number,
  milliseconds: number,
): Promise<number> {
  using space = new RingSpace(queues);
  const failed = (error: Error): void => {
    throw error;
  };
  const queue = new QueuePair({
    id: 1,
    entries: ENTRIES,
    space,
    doorbells: queues.doorbells,
    doorbellStrideWords: 1,
    pageBytes: 4096,
    maxTransferBytes: 4096,
    mode: "poll",
    timeoutMs: 60_000,
    onFailure: failed,
    onTick: () => {},
  });
  const buffer = space.alloc(depth * BLOCK_BYTES);
  let done = 0;
  let stopped = false;
  let counted = 0;
  let begin = 0;
  let end = 0;
  const start = performance.now();
  const reader = async (slot: number): Promise<void> => {
    while (!stopped) {
      await queue.execute({
        opcode: 2,
        nsid: 1,
        cdw10: done,
        cdw11: 0,
        cdw12: 7,
        data: { buffer, offset: slot * BLOCK_BYTES, length: BLOCK_BYTES },
      });
      if ((++done & 1023) === 0) {
        end = performance.now();
        if (begin === 0) {
          if (end - start < WARM_UP_MS) continue;
          begin = end;
          counted = done;
        }
        stopped = end - begin > milliseconds;
      }
    }
  };
  await Promise.all(Array.from({ length: depth }, (_, slot) => reader(slot)));
  queue.fail(new Error("done"));
  queue.close();
  buffer.close();
  return ((done - counted) / (end - begin)) * 1000;
}
