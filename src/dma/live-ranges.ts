import { type Iova, iova } from "./iova.js";

/** Mappings start at multiples of this; so counted, addresses of 64 bits are exact as numbers. */
const UNIT = 4096;
/**
 * Entries that stand for nothing. V8 makes a Map anew when it gets nearly empty, and so at every change of one that goes
 * back and forth between no entry and one, which is what mapping and unmapping in turns does.
 */
const BALLAST = 64;

/** What is mapped: start and length. A number is a far quicker key than a bigint. */
export class LiveRanges {
  private readonly lengths = new Map<number, number>(
    Array.from({ length: BALLAST }, (_, i): [number, number] => [-1 - i, 0]),
  );

  set(at: bigint, sizeBytes: number): void {
    this.lengths.set(Number(at) / UNIT, sizeBytes);
  }

  delete(at: bigint): void {
    this.lengths.delete(Number(at) / UNIT);
  }

  *entries(): Generator<[at: Iova, sizeBytes: number]> {
    for (const [at, sizeBytes] of this.lengths) {
      if (sizeBytes > 0) yield [iova(BigInt(at) * BigInt(UNIT)), sizeBytes];
    }
  }
}
