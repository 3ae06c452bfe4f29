/** Memory for the frames of one queue of virtio's network device. */
import type { DmaBuffer, DmaSpace } from "iova";
import type { Part } from "./ring-format.js";

const BUFFER_BYTES = 2048;
/** struct virtio_net_hdr before each frame (Virtual I/O Device 1.2, section 5.1.6). All zeros: no offloads. */
export const HEADER_BYTES = 12;
/** With a VLAN tag in it, without CRC. */
export const MOST_BYTES = 1518;

/** One buffer for each slot. */
export class NetBuffers {
  private readonly buffer: DmaBuffer;
  private readonly views: readonly Uint8Array[];

  /** @param deviceWrites whether it receives */
  constructor(
    dma: DmaSpace,
    readonly count: number,
    private readonly deviceWrites: boolean,
  ) {
    const buffer = dma.alloc(count * BUFFER_BYTES);
    this.buffer = buffer;
    this.views = Array.from({ length: count }, (_, i) => buffer.view(i * BUFFER_BYTES, BUFFER_BYTES));
  }

  /** A slot as the only part of a request. */
  part(slot: number, sizeBytes = BUFFER_BYTES): Part {
    const iova = this.buffer.iova + BigInt(slot * BUFFER_BYTES);
    return { iova, sizeBytes, deviceWrites: this.deviceWrites };
  }

  /** Copies a frame into a slot. */
  write(slot: number, frame: Uint8Array): void {
    this.buffer.write(frame, slot * BUFFER_BYTES + HEADER_BYTES);
  }

  /** A copy of the frame in a slot. */
  read(slot: number, length: number): Uint8Array {
    const frame = new Uint8Array(length);
    this.buffer.read(frame, slot * BUFFER_BYTES + HEADER_BYTES);
    return frame;
  }

  /** The frame in a slot. */
  frame(slot: number, length = BUFFER_BYTES - HEADER_BYTES): Uint8Array {
    return (this.views[slot] ?? new Uint8Array(0)).subarray(HEADER_BYTES, HEADER_BYTES + length);
  }

  /** The device must have stopped. */
  close(): void {
    this.buffer.close();
  }
}
