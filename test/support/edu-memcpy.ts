/** A driver for the edu device that copies memory. */
import type { DeviceIo } from "../../src/doors/vfio.js";
import { Interrupts } from "../../src/index.js";
import { Edu } from "./edu.js";

/** A transfer through the device's own memory takes two DMA operations: one in, one out. */
const CHUNK_BYTES = 2048;

/**
 * A driver with the interface that the kernel's VFIO self-tests use: it copies memory by DMA and sends an interrupt on
 * request. The kernel's own drivers are for hardware (DSA, IOAT, igb).
 */
export class EduMemcpyDriver implements Disposable {
  readonly interrupts: Interrupts;
  readonly maxCopyBytes = CHUNK_BYTES;
  private readonly edu: Edu;

  constructor(io: DeviceIo) {
    this.edu = new Edu(io);
    this.interrupts = new Interrupts(io, { kind: "msi" });
  }

  /** Copies in as many steps as necessary. A step whose address isn't mapped copies nothing. */
  async memcpy(source: bigint, destination: bigint, sizeBytes: number): Promise<void> {
    for (let done = 0; done < sizeBytes; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, sizeBytes - done);
      await this.edu.load(source + BigInt(done), length);
      await this.edu.store(destination + BigInt(done), length);
    }
  }

  sendMsi(): void {
    this.edu.raise(1);
    this.edu.acknowledge();
  }

  /** Interrupts since the last call. */
  takeMsi(): number {
    const [vector] = this.interrupts.vectors;
    if (vector === undefined) throw new Error("edu has no interrupt");
    return vector.take();
  }

  waitMsi(): number {
    const [vector] = this.interrupts.vectors;
    if (vector === undefined) throw new Error("edu has no interrupt");
    return vector.waitSync(30_000);
  }

  close(): void {
    this.interrupts.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
