import { randomInt } from "node:crypto";

/** A piece of a longer transfer. */
export interface Piece {
  /** First byte, from the start of the whole. */
  readonly start: number;
  readonly length: number;
  /** Where the piece starts in its buffer: anywhere in a page that the specification allows. */
  readonly bufferOffset: number;
}

const PAGE = 4096;

/**
 * Cuts `totalBytes` into pieces of mixed sizes, from one block to `maxBytes`, small ones as likely as large ones. PRPs
 * may start at any multiple of 4 in a page, so most pieces do not start at a page's beginning.
 */
export function mixedPieces(totalBytes: number, blockBytes: number, maxBytes: number): Piece[] {
  const pieces: Piece[] = [];
  const largest = Math.log2(maxBytes / blockBytes);
  for (let start = 0; start < totalBytes; ) {
    // The first two are the extremes; chance decides on the rest.
    const exponent = [0, largest][pieces.length] ?? (randomInt(1_000_000) / 1_000_000) * largest;
    const length = Math.min(Math.round(2 ** exponent) * blockBytes, totalBytes - start);
    pieces.push({ start, length, bufferOffset: randomInt(PAGE / 4) * 4 });
    start += length;
  }
  return pieces;
}
