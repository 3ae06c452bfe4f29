/** Measures random reads from an NVMe controller through each backend; it never writes. */
import { NvmeController } from "../../nvme/controller.js";
import type { NvmeNamespace } from "../../nvme/namespace/namespace.js";
import type { ComparedBackend, CompareReport } from "./report.js";
import { SampleBook } from "./statistics.js";

const DEPTH = 32;
const READ_BYTES = 4096;

/** Reads of one round. */
export interface ReadPlan {
  readonly singleReads: number;
  readonly deepReads: number;
}

export class NvmeMeasurement {
  private readonly book = new SampleBook<{
    readonly backend: ComparedBackend;
    readonly sample: "latency" | "rate";
  }>();
  private readBytes = READ_BYTES;

  /**
   * One round: opens the controller, which includes its first DMA (Identify), then reads one at a time, then in parallel.
   * @returns nanoseconds until the first DMA
   */
  async measure(backend: ComparedBackend, bdf: string, plan: ReadPlan): Promise<number> {
    const start = process.hrtime.bigint();
    await using nvme = await NvmeController.open(bdf, { backend });
    const toFirstDma = Number(process.hrtime.bigint() - start);
    const [nsid = 1] = await nvme.namespaceIds();
    const namespace = await nvme.namespace(nsid);
    this.readBytes = Math.max(READ_BYTES, namespace.blockSizeBytes);
    const nextLba = randomLbas(namespace, this.readBytes);
    const length = this.readBytes;

    using buffer = nvme.dma.alloc(length);
    for (let i = 0; i < plan.singleReads; i++) {
      const lba = nextLba();
      const before = process.hrtime.bigint();
      await namespace.read(lba, buffer, { length });
      this.book.add({ backend, sample: "latency" }, Number(process.hrtime.bigint() - before));
    }

    let left = plan.deepReads;
    const before = process.hrtime.bigint();
    const streams = Array.from({ length: DEPTH }, async () => {
      using own = nvme.dma.alloc(length);
      for (; left > 0; left--) await namespace.read(nextLba(), own, { length });
    });
    await Promise.all(streams);
    const seconds = Number(process.hrtime.bigint() - before) / 1e9;
    this.book.add({ backend, sample: "rate" }, plan.deepReads / seconds);
    return toFirstDma;
  }

  results(): CompareReport["nvme"] {
    const backends = [...new Set(this.book.keys().map(({ backend }) => backend))];
    return backends.flatMap((backend) => {
      const latency = this.book.get({ backend, sample: "latency" });
      const readsPerSecond = this.book.get({ backend, sample: "rate" });
      if (!latency || !readsPerSecond) return [];
      return [{ backend, readBytes: this.readBytes, latency, depth: DEPTH, readsPerSecond }];
    });
  }
}

/** Random blocks on the whole namespace, multiples of a read's length. */
function randomLbas({ blockSizeBytes, sizeBlocks }: NvmeNamespace, readBytes: number): () => bigint {
  const perRead = readBytes / blockSizeBytes;
  const places = Math.max(1, Math.floor(Number(sizeBlocks) / perRead));
  return () => BigInt(Math.floor(Math.random() * places) * perRead);
}
