/** Cuts a large transfer into pieces of mixed sizes. */
import { randomInt } from "node:crypto";

/** A piece of a longer transfer. */
export interface Piece {
  /** Offset of its first byte in the whole transfer. */
  readonly start: number;
  readonly length: number;
  /** Offset in its buffer: any offset in a page that the specification allows. */
  readonly bufferOffset: number;
}

const PAGE = 4096;

/**
 * Cuts `totalBytes` into pieces from one block to `maxBytes`; small pieces are as likely as large ones. PRPs may start at any
 * multiple of 4 in a page, so most pieces don't start at a page boundary.
 */
export function mixedPieces(totalBytes: number, blockBytes: number, maxBytes: number): Piece[] {
  const pieces: Piece[] = [];
  const largest = Math.log2(maxBytes / blockBytes);
  for (let start = 0; start < totalBytes; ) {
    // The first two pieces are the smallest and the largest; the others are random.
    const exponent = [0, largest][pieces.length] ?? (randomInt(1_000_000) / 1_000_000) * largest;
    const length = Math.min(Math.round(2 ** exponent) * blockBytes, totalBytes - start);
    pieces.push({ start, length, bufferOffset: randomInt(PAGE / 4) * 4 });
    start += length;
  }
  return pieces;
}
