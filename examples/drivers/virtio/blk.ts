/** The block device of virtio (Virtual I/O Device 1.2, section 5.2). */
import type { DmaBuffer, PciDevice } from "iova";
import { bits, choice, descriptorLayout, reg8, reg32, reg64 } from "iova/pci";
import { VirtioError } from "./error.js";
import type { Part, SplitQueue } from "./split-queue.js";
import { Feature, VirtioTransport } from "./transport.js";

const TYPE = 2;
const SECTOR_BYTES = 512;
const READ_ONLY = 1n << 5n;
const FLUSH = 1n << 9n;
const ID_BYTES = 20;
/** Bytes of the configuration that this driver reads: the capacity. */
const CONFIG_BYTES = 8;
/** A request needs a descriptor for its head, its data and its status. */
const DESCRIPTORS_EACH = 3;

/** The head of a request, which the device reads, and behind it the status, which it writes. */
const Request = descriptorLayout("virtio_blk_req", 32, {
  type: reg32(0, { fields: { type: choice(31, 0, { read: 0, write: 1, flush: 4, id: 8 }) } }),
  sector: reg64(8),
  status: reg8(16, { fields: { status: bits(7, 0) } }),
});
const HEAD_BYTES = 16n;
const NO_STATUS = 0xff;
const statusNames: Readonly<Record<number, string>> = { 1: "an I/O error", 2: "unsupported" };

/** A part of a buffer. */
export interface Extent {
  /** Bytes from the start of the buffer; 0 by default. */
  readonly offset?: number;
  /** Bytes; up to the end of the buffer by default. */
  readonly length?: number;
}

/** A disk. */
export class VirtioBlk implements AsyncDisposable {
  private readonly freeRequests: number[];
  private readonly waiting: (() => void)[] = [];
  private readonly slots: ReturnType<typeof Request.on>;

  private constructor(
    private readonly transport: VirtioTransport,
    private readonly queue: SplitQueue,
    private readonly heads: DmaBuffer,
    /** Sectors of 512 bytes. */
    readonly sectors: number,
  ) {
    const count = Math.floor(queue.slots / DESCRIPTORS_EACH);
    this.freeRequests = Array.from({ length: count }, (_, i) => i);
    this.slots = Request.on(heads.bytes);
  }

  /** @throws as a rejection: VirtioError; as PciDevice's methods */
  static async start(device: PciDevice): Promise<VirtioBlk> {
    const transport = new VirtioTransport(device, TYPE);
    await transport.begin(Feature.eventIndex | READ_ONLY | FLUSH, 1);
    try {
      const queue = transport.addQueue(0, 0);
      const heads = device.dma.alloc(queue.slots * Request.sizeBytes);
      const sectors = Number(transport.readConfig(CONFIG_BYTES).getBigUint64(0, true));
      transport.start();
      return new VirtioBlk(transport, queue, heads, sectors);
    } catch (error) {
      await transport.reset();
      throw error;
    }
  }

  /** Whether the disk can only be read. */
  get isReadOnly(): boolean {
    return this.transport.has(READ_ONLY);
  }

  /** Reads whole sectors into a buffer. @throws as a rejection: RangeError, VirtioError */
  async read(sector: number, buffer: DmaBuffer, extent: Extent = {}): Promise<void> {
    await this.transfer("read", sector, buffer, extent);
  }

  /** Writes whole sectors from a buffer. @throws as a rejection: RangeError, VirtioError */
  async write(sector: number, buffer: DmaBuffer, extent: Extent = {}): Promise<void> {
    if (this.isReadOnly) throw new VirtioError("the disk is read-only");
    await this.transfer("write", sector, buffer, extent);
  }

  /** Makes what was written durable. */
  async flush(): Promise<void> {
    if (this.transport.has(FLUSH)) await this.request("flush", 0, []);
  }

  /** The disk's serial number. */
  async id(): Promise<string> {
    using buffer = this.transport.device.dma.alloc(ID_BYTES);
    await this.request("id", 0, [{ iova: buffer.iova, sizeBytes: ID_BYTES, deviceWrites: true }]);
    const text = Buffer.from(buffer.bytes).toString("latin1");
    return text.replace(/\0.*$/s, "");
  }

  /** Stops the device. It stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.reset("the driver was closed");
    this.heads.close();
  }

  private async transfer(
    type: "read" | "write",
    sector: number,
    buffer: DmaBuffer,
    { offset = 0, length = buffer.sizeBytes - offset }: Extent,
  ): Promise<void> {
    const inBuffer =
      Number.isInteger(offset) && offset >= 0 && length > 0 && offset + length <= buffer.sizeBytes;
    if (!inBuffer || length % SECTOR_BYTES !== 0)
      throw new RangeError(`${length} bytes at ${offset} are no whole sectors of the buffer`);
    if (!Number.isInteger(sector) || sector < 0 || sector + length / SECTOR_BYTES > this.sectors)
      throw new RangeError(
        `${length} bytes at sector ${sector} are beyond the disk's ${this.sectors} sectors`,
      );
    const iova = buffer.iova + BigInt(offset);
    await this.request(type, sector, [{ iova, sizeBytes: length, deviceWrites: type === "read" }]);
  }

  private async request(
    type: "read" | "write" | "flush" | "id",
    sector: number,
    data: readonly Part[],
  ): Promise<void> {
    const { slots, heads } = this;
    const slot = await this.freeRequest();
    try {
      slots.type.write(slot, { type });
      slots.sector.write(slot, BigInt(sector));
      slots.status.write(slot, NO_STATUS);
      const head = heads.iova + BigInt(slot * Request.sizeBytes);
      await this.queue.submit([
        { iova: head, sizeBytes: Number(HEAD_BYTES), deviceWrites: false },
        ...data,
        { iova: head + HEAD_BYTES, sizeBytes: 1, deviceWrites: true },
      ]);
      const status = slots.status.read(slot);
      if (status !== 0)
        throw new VirtioError(
          `${type} at sector ${sector} failed: ${statusNames[status] ?? `status ${status}`}`,
        );
    } finally {
      this.freeRequests.push(slot);
      this.waiting.shift()?.();
    }
  }

  /** Waits its turn if all are in use: those end, or the driver is closed. */
  private async freeRequest(): Promise<number> {
    for (;;) {
      const slot = this.freeRequests.pop();
      if (slot !== undefined) return slot;
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }
}
