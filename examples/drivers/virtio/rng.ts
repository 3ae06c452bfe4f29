/** The entropy device of virtio (Virtual I/O Device 1.2, section 5.4). */
import type { DmaBuffer, PciDevice } from "iova";
import type { SplitQueue } from "./split-queue.js";
import { Feature, VirtioTransport } from "./transport.js";

const TYPE = 4;

/** A source of random bytes. */
export class VirtioRng implements AsyncDisposable {
  private constructor(
    private readonly transport: VirtioTransport,
    private readonly queue: SplitQueue,
  ) {}

  /** @throws as a rejection: VirtioError; as PciDevice's methods */
  static async start(device: PciDevice): Promise<VirtioRng> {
    const transport = new VirtioTransport(device, TYPE);
    await transport.begin(Feature.eventIndex, 1);
    const queue = transport.addQueue(0, 0);
    transport.start();
    return new VirtioRng(transport, queue);
  }

  /** Lets the device fill a buffer, or the beginning of it. @returns bytes that it wrote */
  async fill(buffer: DmaBuffer): Promise<number> {
    return await this.queue.submit([{ iova: buffer.iova, sizeBytes: buffer.sizeBytes, deviceWrites: true }]);
  }

  /** Stops the device. It stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.reset("the driver was closed");
  }
}
