/** The block device of virtio (Virtual I/O Device 1.2, section 5.2). */
import { EventEmitter } from "node:events";
import type { DmaBuffer, PciDevice } from "iova";
import { bits, choice, descriptorLayout, reg8, reg32, reg64 } from "iova/pci";
import { VirtioError } from "./error.js";
import type { Part } from "./ring-format.js";
import { type VirtioOptions, VirtioTransport } from "./transport.js";
import type { Virtqueue } from "./virtqueue.js";

const TYPE = 2;
const SECTOR_BYTES = 512;
const READ_ONLY = 1n << 5n;
const FLUSH = 1n << 9n;
const ID_BYTES = 20;
const MULTIPLE_QUEUES = 1n << 12n;
/** The configuration as far as this driver reads it: the capacity, and the number of queues. */
const CAPACITY_BYTES = 8;
const QUEUES_AT = 34;
/** The head, the data and the status. */
const MOST_PARTS = 3;

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

/** Options of {@link VirtioBlk.start}. */
export interface VirtioBlkOptions extends VirtioOptions {
  /** Queues to use, 1 by default; the device may have fewer. */
  readonly queues?: number | undefined;
}

/** A queue, and the memory of its requests' heads. */
interface Lane {
  readonly queue: Virtqueue;
  readonly heads: DmaBuffer;
  readonly slots: ReturnType<typeof Request.on>;
  readonly freeRequests: number[];
  readonly waiting: (() => void)[];
}

/** A disk. */
export class VirtioBlk implements AsyncDisposable {
  /** `capacity`: the disk has another length, in sectors. */
  readonly events = new EventEmitter<{ capacity: [number] }>();
  private readonly lanes: Lane[] = [];
  private capacity = 0;
  private turn = 0;

  private constructor(private readonly transport: VirtioTransport) {}

  /** @throws as a rejection: VirtioError; as PciDevice's methods */
  static async start(device: PciDevice, options: VirtioBlkOptions = {}): Promise<VirtioBlk> {
    const transport = new VirtioTransport(device, TYPE);
    await transport.begin(READ_ONLY | FLUSH | MULTIPLE_QUEUES, options);
    const disk = new VirtioBlk(transport);
    try {
      disk.begin(options.queues ?? 1);
      return disk;
    } catch (error) {
      await disk[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sectors of 512 bytes. */
  get sectors(): number {
    return this.capacity;
  }

  /** Queues in use. */
  get queues(): number {
    return this.lanes.length;
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
    for (const { heads } of this.lanes) heads.close();
  }

  private begin(wanted: number): void {
    const { transport } = this;
    const { dma } = transport.device;
    const most = transport.has(MULTIPLE_QUEUES)
      ? transport.readConfig(QUEUES_AT + 2).getUint16(QUEUES_AT, true)
      : 1;
    const count = Math.max(1, Math.min(wanted, most));
    transport.enableInterrupts(count, () => this.readCapacity());
    for (let i = 0; i < count; i++) {
      const queue = transport.addQueue(i);
      const heads = dma.alloc(queue.slots * Request.sizeBytes);
      const freeRequests = Array.from({ length: queue.capacity(MOST_PARTS) }, (_, slot) => slot);
      this.lanes.push({ queue, heads, slots: Request.on(heads.bytes), freeRequests, waiting: [] });
    }
    this.readCapacity();
    transport.start();
  }

  private readCapacity(): void {
    const before = this.capacity;
    this.capacity = Number(this.transport.readConfig(CAPACITY_BYTES).getBigUint64(0, true));
    if (before !== 0 && this.capacity !== before) this.events.emit("capacity", this.capacity);
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
    const lane = this.lanes[this.turn++ % this.lanes.length];
    if (lane === undefined) throw new VirtioError("the disk has no queue");
    const { slots, heads } = lane;
    const slot = await freeRequest(lane);
    try {
      slots.type.write(slot, { type });
      slots.sector.write(slot, BigInt(sector));
      slots.status.write(slot, NO_STATUS);
      const head = heads.iova + BigInt(slot * Request.sizeBytes);
      await lane.queue.submit([
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
      lane.freeRequests.push(slot);
      lane.waiting.shift()?.();
    }
  }
}

/** Waits its turn if all are in use: those end, or the driver is closed. */
async function freeRequest({ freeRequests, waiting }: Lane): Promise<number> {
  for (;;) {
    const slot = freeRequests.pop();
    if (slot !== undefined) return slot;
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
}
