/** Ranges of any length over a namespace: in pieces that a command can carry, several of them at a time. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { NvmeController } from "../../nvme/controller.js";
import type { NvmeNamespace } from "../../nvme/namespace.js";

/** Pieces in flight. */
const DEPTH = 4;
/** NLB is a 16-bit field. */
const MAX_BLOCKS = 65536;

/** Bytes of the longest piece. */
function pieceBytes(nvme: NvmeController, ns: NvmeNamespace): number {
  const most = Math.min(nvme.maxTransferBytes, MAX_BLOCKS * ns.blockSizeBytes);
  return most - (most % ns.blockSizeBytes);
}

interface Piece {
  readonly buffer: DmaBuffer;
  readonly length: number;
  readonly done: Promise<void>;
}

/** Waits for all of them whatever each comes to: their buffers are free to go after that. */
async function settle(pieces: readonly Piece[]): Promise<void> {
  await Promise.allSettled(pieces.map(({ done }) => done));
}

/**
 * Reads blocks in order.
 * @param take gets each piece's bytes, which it must be done with when its promise is
 * @throws as NvmeNamespace.read(), and what `take` throws
 */
export async function readBlocks(
  nvme: NvmeController,
  ns: NvmeNamespace,
  first: bigint,
  blocks: bigint,
  take: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const most = pieceBytes(nvme, ns);
  const mostBlocks = BigInt(most / ns.blockSizeBytes);
  const pending: Piece[] = [];
  const idle: DmaBuffer[] = [];
  const buffers: DmaBuffer[] = [];
  try {
    for (let at = 0n; at < blocks || pending.length > 0; ) {
      while (at < blocks && pending.length < DEPTH) {
        const count = blocks - at < mostBlocks ? blocks - at : mostBlocks;
        let buffer = idle.pop();
        if (buffer === undefined) {
          buffer = nvme.dma.alloc(most);
          buffers.push(buffer);
        }
        const length = Number(count) * ns.blockSizeBytes;
        const done = ns.read(first + at, buffer, { length });
        // Looked at when its turn comes.
        done.catch(() => undefined);
        pending.push({ buffer, length, done });
        at += count;
      }
      const [piece] = pending;
      if (piece === undefined) return;
      await piece.done;
      await take(piece.buffer.view(0, piece.length));
      pending.shift();
      idle.push(piece.buffer);
    }
  } finally {
    await settle(pending);
    for (const buffer of buffers) buffer.close();
  }
}

/**
 * Writes blocks.
 * @param fill puts the next bytes into memory of a piece's size and says how many; 0 at the end
 * @param check sees each piece before it is written
 * @returns how many blocks were written
 * @throws as NvmeNamespace.write(), and what `fill` and `check` throw; what was begun before is done by then
 */
export async function writeBlocks(
  nvme: NvmeController,
  ns: NvmeNamespace,
  first: bigint,
  fill: (target: Uint8Array) => Promise<number>,
  check: (at: bigint, bytes: number) => void,
): Promise<bigint> {
  const most = pieceBytes(nvme, ns);
  const pending: Piece[] = [];
  const buffers: DmaBuffer[] = [];
  let at = first;
  try {
    for (;;) {
      let buffer: DmaBuffer;
      if (buffers.length < DEPTH) {
        buffer = nvme.dma.alloc(most);
        buffers.push(buffer);
      } else {
        const oldest = pending.shift();
        if (oldest === undefined) break;
        await oldest.done;
        buffer = oldest.buffer;
      }
      const length = await fill(buffer.view(0, most));
      if (length === 0) break;
      check(at, length);
      const done = ns.write(at, buffer, { length });
      done.catch(() => undefined);
      pending.push({ buffer, length, done });
      at += BigInt(length / ns.blockSizeBytes);
    }
    for (const { done } of pending) await done;
    return at - first;
  } finally {
    await settle(pending);
    for (const buffer of buffers) buffer.close();
  }
}
