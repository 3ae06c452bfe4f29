/** The entropy device of virtio (Virtual I/O Device 1.2, section 5.4). */
import type { DmaBuffer, PciDevice } from "iova";
import { type VirtioOptions, VirtioTransport } from "./transport.js";
import type { Virtqueue } from "./virtqueue.js";

const TYPE = 4;

/** A source of random bytes. */
export class VirtioRng implements AsyncDisposable {
  private constructor(
    private readonly transport: VirtioTransport,
    private readonly queue: Virtqueue,
  ) {}

  /** @throws as a rejection: VirtioError; as PciDevice's methods */
  static async start(device: PciDevice, options: VirtioOptions = {}): Promise<VirtioRng> {
    const transport = new VirtioTransport(device, TYPE);
    await transport.begin(0n, options);
    try {
      transport.enableInterrupts(1, () => {});
      const queue = transport.addQueue(0);
      transport.start();
      return new VirtioRng(transport, queue);
    } catch (error) {
      await transport.reset();
      throw error;
    }
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
