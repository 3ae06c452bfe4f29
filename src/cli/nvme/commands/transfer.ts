/** Reads and writes of any length, which the library splits into commands and runs several of at a time. */
import { pipeline } from "node:stream/promises";
import { ArgumentError } from "../../../core/errors.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import { assertInside } from "./blocks.js";
import type { DataSource } from "./data-file.js";

/**
 * Reads blocks in order.
 * @param take gets each piece's bytes
 * @throws as NvmeNamespace.read(), and what `take` throws
 */
export async function readBlocks(
  ns: NvmeNamespace,
  first: bigint,
  blocks: bigint,
  take: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const pieces: AsyncIterable<Uint8Array> = ns.createReadStream({ lba: first, blocks });
  for await (const bytes of pieces) await take(bytes);
}

/** Bytes read from the source at a time. */
const PIECE_BYTES = 256 * 1024;

/**
 * Writes a source's data and flushes.
 * @param most blocks to write at most; all by default
 * @returns the number of blocks written
 * @throws as NvmeNamespace.write() and the source; ArgumentError if the source ends in the middle of a block or goes beyond
 *   the namespace: the blocks before that are written
 */
export async function writeBlocks(
  ns: NvmeNamespace,
  first: bigint,
  source: DataSource,
  most: bigint | undefined,
): Promise<bigint> {
  const { blockSizeBytes } = ns;
  let written = 0n;
  let problem: unknown;
  /** Notes an error and ends, so that the blocks before it are still written. */
  async function* pieces(): AsyncGenerator<Uint8Array, void, void> {
    while (most === undefined || written < most) {
      const left = most === undefined ? PIECE_BYTES : Number(most - written) * blockSizeBytes;
      const piece = new Uint8Array(Math.min(PIECE_BYTES, left));
      try {
        const length = await source.read(piece);
        if (length === 0) return;
        const rest = length % blockSizeBytes;
        const blocks = BigInt((length - rest) / blockSizeBytes);
        assertRoom(ns, first, written, blocks);
        written += blocks;
        if (blocks > 0n) yield piece.subarray(0, length - rest);
        if (rest === 0) continue;
        throw new ArgumentError(
          `${source.name} ended in the middle of a block of ${blockSizeBytes} bytes; ${written} blocks were written`,
        );
      } catch (error) {
        problem = error;
        return;
      }
    }
  }
  const sink = ns.createWriteStream({ lba: first, flush: true });
  const closed = new Promise<void>((resolve) => sink.once("close", resolve));
  try {
    await pipeline(pieces(), sink);
  } finally {
    await closed;
  }
  if (problem !== undefined) throw problem;
  return written;
}

/** @throws ArgumentError that says how many blocks were written */
function assertRoom(ns: NvmeNamespace, first: bigint, written: bigint, blocks: bigint): void {
  try {
    assertInside(ns, first + written, blocks);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ArgumentError(`${why}; ${written} blocks were written`, { cause: error });
  }
}
