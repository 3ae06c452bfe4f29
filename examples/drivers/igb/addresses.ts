/** Addresses of equal parts of a buffer in halves, because 64 bits would be bigints, which make garbage. */
import type { DmaBuffer } from "iova";

/** Where the device finds each part of a buffer. */
export class Addresses {
  private readonly words: Uint32Array;

  constructor({ iova }: DmaBuffer, count: number, partBytes: number) {
    this.words = new Uint32Array(
      BigUint64Array.from({ length: count }, (_, i) => iova + BigInt(i * partBytes)).buffer,
    );
  }

  low(part: number): number {
    return this.words[2 * part] ?? 0;
  }

  high(part: number): number {
    return this.words[2 * part + 1] ?? 0;
  }
}
