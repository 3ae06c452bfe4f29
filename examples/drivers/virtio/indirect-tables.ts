/** Tables of descriptors: a request of many parts takes one slot of the ring (Virtual I/O Device 1.2, section 2.7.5.3). */
import type { DmaBuffer, DmaSpace } from "iova";
import { VirtioError } from "./error.js";
import type { Part } from "./ring-format.js";

const DESCRIPTOR_BYTES = 16;
const MOST_PARTS = 8;
const TABLE_BYTES = MOST_PARTS * DESCRIPTOR_BYTES;

/** A table for each slot of a ring. */
export class IndirectTables {
  private readonly buffer: DmaBuffer;
  private readonly free: number[];

  constructor(dma: DmaSpace, slots: number) {
    this.buffer = dma.alloc(slots * TABLE_BYTES);
    this.free = Array.from({ length: slots }, (_, i) => i);
  }

  /** @returns the table, as the only part of a request @throws VirtioError if there are too many parts */
  take(parts: readonly Part[], write: (memory: Uint8Array) => void): Part {
    if (parts.length > MOST_PARTS)
      throw new VirtioError(`a request has at most ${MOST_PARTS} parts, got ${parts.length}`);
    const table = this.free.pop();
    if (table === undefined) throw new VirtioError("every table of descriptors is in use");
    const offset = table * TABLE_BYTES;
    const sizeBytes = parts.length * DESCRIPTOR_BYTES;
    write(this.buffer.view(offset, sizeBytes));
    return { iova: this.buffer.iova + BigInt(offset), sizeBytes, deviceWrites: false };
  }

  giveBack({ iova }: Part): void {
    this.free.push(Number(iova - this.buffer.iova) / TABLE_BYTES);
  }

  /** The device must have stopped. */
  close(): void {
    this.buffer.close();
  }
}
