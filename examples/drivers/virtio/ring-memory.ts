/** What the rings of both kinds of virtqueues are made of. */
import type { DmaBuffer, DmaSpace } from "iova";
import { RingCursor } from "iova/pci";

/** Flags of descriptors (Virtual I/O Device 1.2, sections 2.7.5 and 2.8.13). */
export const DescriptorFlag = { next: 1, deviceWrites: 2, indirect: 4 } as const;
/** Positions that a side wants to be told at count modulo 2^16. */
export const INDEX_MASK = 0xffff;
/** The alignment that the most demanding part needs. */
const ALIGN_BYTES = 8;

/** The lengths of a queue's three parts, in bytes. */
interface PartLengths {
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

/** The three parts of a queue in memory that the device reaches, and how far the driver has got in them. */
export class RingMemory {
  readonly descriptors: Uint8Array;
  /** What the driver writes besides. */
  readonly driver: Uint8Array;
  /** What the device writes besides. */
  readonly device: Uint8Array;
  /** Where the device finds the three. */
  readonly descriptorsAt: bigint;
  readonly driverAt: bigint;
  readonly deviceAt: bigint;
  /** What the driver fills next. */
  readonly filled: RingCursor;
  /** What the driver takes back next. */
  readonly taken: RingCursor;
  /** Numbers below `slots` that no request has; the lowest are taken first. */
  readonly free: number[];
  private readonly buffer: DmaBuffer;

  constructor(
    dma: DmaSpace,
    readonly slots: number,
    lengths: PartLengths,
  ) {
    const driverStart = aligned(lengths.descriptors);
    const deviceStart = driverStart + aligned(lengths.driver);
    this.buffer = dma.alloc(deviceStart + lengths.device);
    const { buffer } = this;
    this.descriptors = buffer.view(0, lengths.descriptors);
    this.driver = buffer.view(driverStart, lengths.driver);
    this.device = buffer.view(deviceStart, lengths.device);
    this.descriptorsAt = buffer.iova;
    this.driverAt = buffer.iova + BigInt(driverStart);
    this.deviceAt = buffer.iova + BigInt(deviceStart);
    this.filled = new RingCursor(slots);
    this.taken = new RingCursor(slots);
    this.free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  /** Frees the memory. The device must have stopped. */
  close(): void {
    this.buffer.close();
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGN_BYTES) * ALIGN_BYTES;
}
