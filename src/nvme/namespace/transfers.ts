/** Transfers of ranges longer than one command carries: split into commands, several of which are outstanding. */

import { checkInteger, checkKeys, checkOffset, checkU64 } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { checkSignal } from "../../core/listeners.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import {
  assertCommandData,
  assertDmaBuffer,
  type CommandData,
  cutData,
  type DataList,
  dataBytes,
} from "../command/data-ranges.js";
import type { BounceBuffers } from "../memory/bounce-buffers.js";
import { MAX_BLOCKS } from "./block-command.js";
import type { BlockFormat } from "./block-format.js";
import {
  assertMetadataLength,
  type IoOptions,
  ioFields,
  ioOptions,
  metadataLength,
  metadataOf,
  type ProtectionOptions,
} from "./io-options.js";
import { checkLba } from "./lba.js";
import {
  assertWhole,
  type BlockData,
  type BouncePart,
  isPlainBytes,
  type PlainBytes,
  plainLength,
  plainMetadata,
  throughBounce,
} from "./plain-bytes.js";

/** Options of {@link NvmeNamespace.readRange} and {@link NvmeNamespace.writeRange}. */
export interface RangeOptions extends IoOptions {
  /** Most commands outstanding at a time, 1 to 1024; 8 by default. */
  readonly depth?: number | undefined;
  /** Bytes per command, rounded down to whole blocks; as many as one command carries by default. */
  readonly chunkBytes?: number | undefined;
  /** Aborts the transfer: no further command is submitted; the promise rejects once the outstanding ones have completed. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link NvmeNamespace.chunks}. */
export interface ChunkOptions
  extends Pick<
    RangeOptions,
    "depth" | "chunkBytes" | "signal" | "queue" | "fua" | "limitedRetry" | "protection"
  > {}

const rangeOptions: readonly (keyof RangeOptions)[] = [...ioOptions, "depth", "chunkBytes"];
const chunkOptions: readonly (keyof ChunkOptions)[] = [
  "depth",
  "chunkBytes",
  "signal",
  "queue",
  "fua",
  "limitedRetry",
  "protection",
];

/** A piece of the range that is read. */
export interface NvmeChunk {
  /** First block of the piece. */
  readonly lba: bigint;
  /** Number of blocks in the piece. */
  readonly blocks: number;
  /** The data, interleaved with the metadata on a namespace with extended LBAs. Valid until the next piece. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** The metadata, if it is transferred separately. Valid until the next piece. */
  readonly metadata: Uint8Array<SharedArrayBuffer> | undefined;
}

/** What a range transfer needs of a namespace. */
export interface Mover {
  readonly namespace: { readonly nsid: number; readonly sizeBlocks: bigint };
  readonly format: BlockFormat;
  readonly dma: DmaSpace;
  readonly maxTransferBytes: number;
  /** No command crosses a multiple of so many blocks; 0: any may. */
  readonly stripeBlocks: number;
  /** Whether it reads blocks. */
  readonly isRead: boolean;
  /** For bytes outside DMA buffers. */
  readonly bounce: BounceBuffers;
  move(lba: bigint, data: CommandData, options: IoOptions): Promise<unknown>;
}

/** Commands that a transfer keeps outstanding by default. */
export const DEFAULT_DEPTH = 8;
/** Most commands that a transfer keeps outstanding. */
export const MAX_DEPTH = 1024;

/** How a range is split. */
interface Plan {
  readonly bytesPerBlock: number;
  readonly blocksPerCommand: number;
  readonly depth: number;
  readonly strips: boolean;
}

/** Blocks from `lba` on that one command carries: at most `most`, and not beyond a stripe. */
function blocksAt({ stripeBlocks }: Mover, lba: bigint, most: number): number {
  if (stripeBlocks === 0) return most;
  return Math.min(most, stripeBlocks - Number(lba % BigInt(stripeBlocks)));
}

/** Plans a transfer. @throws ArgumentError if an option is invalid */
function planOf(mover: Mover, lba: bigint, options: RangeOptions): Plan {
  const { format, maxTransferBytes } = mover;
  const { strips } = ioFields(format, lba, options);
  const bytesPerBlock = format.blockSizeBytes + (format.extended && !strips ? format.metadataBytes : 0);
  const depth = checkInteger("depth", options.depth ?? DEFAULT_DEPTH, 1, MAX_DEPTH);
  const most = Math.min(
    maxTransferBytes,
    MAX_BLOCKS * bytesPerBlock,
    checkOffset("chunkBytes", options.chunkBytes ?? maxTransferBytes),
  );
  const blocksPerCommand = Math.floor(most / bytesPerBlock);
  if (blocksPerCommand === 0) {
    throw new ArgumentError(`chunkBytes ${most} is less than a block (${bytesPerBlock} bytes)`);
  }
  checkSignal(options.signal);
  return { bytesPerBlock, blocksPerCommand, depth, strips };
}

function assertInside({ nsid, sizeBlocks }: Mover["namespace"], lba: bigint, blocks: bigint): void {
  if (lba + blocks > sizeBlocks) {
    throw new ArgumentError(
      `namespace ${nsid} has ${sizeBlocks} blocks: ${blocks} blocks from ${lba} on are past its end`,
    );
  }
}

/** Bytes of a command that moves bytes outside DMA buffers: enough to be fast, and few to copy before the next. */
const BOUNCED_CHUNK_BYTES = 256 * 1024;

/** See {@link NvmeNamespace.readRange}. */
export async function transferRange(
  mover: Mover,
  first: bigint | number,
  given: BlockData,
  options: RangeOptions,
): Promise<void> {
  checkKeys("options", options, rangeOptions);
  if (isPlainBytes(given)) {
    await transferBytes(mover, first, given, { chunkBytes: BOUNCED_CHUNK_BYTES, ...options });
    return;
  }
  const lba = BigInt(checkLba("lba", first));
  const { depth: _, chunkBytes: __, signal, offset, length, metadata, ...rest } = options;
  const plan = planOf(mover, lba, options);
  const data = wholeOf(given, offset, length);
  const blocks = blocksOf(mover, plan, lba, dataBytes(data));
  const { metadataBytes } = mover.format;
  const allMetadata = metadataOf(mover.format, plan.strips, blocks, metadata);
  await inPieces(mover, lba, blocks, plan, signal, (from, count) =>
    mover.move(lba + BigInt(from), cutData(data, from * plan.bytesPerBlock, count * plan.bytesPerBlock), {
      ...rest,
      protection: advanced(mover.format, rest.protection, from),
      metadata: allMetadata && cutData(allMetadata, from * metadataBytes, count * metadataBytes),
    }),
  );
}

/** Moves bytes outside DMA buffers: in one command if that carries them, otherwise in several. @throws as transferRange() */
export async function transferBytes(
  mover: Mover,
  first: bigint | number,
  bytes: PlainBytes,
  options: RangeOptions,
): Promise<void> {
  const lba = BigInt(checkLba("lba", first));
  const { depth: _, chunkBytes: __, signal, offset: ___, length: ____, metadata, ...rest } = options;
  assertWhole(options);
  const plan = planOf(mover, lba, options);
  const blocks = blocksOf(mover, plan, lba, plainLength(bytes));
  const { format } = mover;
  const metadataBytes = metadataLength(format, plan.strips, blocks, metadata) / blocks;
  const allMetadata = plainMetadata(metadata);
  if (allMetadata !== undefined) assertMetadataLength(allMetadata.length, blocks * metadataBytes, blocks);
  const cut = (all: PlainBytes, from: number, count: number, perBlock: number): BouncePart => ({
    bytes: all,
    from: from * perBlock,
    length: count * perBlock,
  });
  await inPieces(mover, lba, blocks, plan, signal, (from, count) => {
    const parts = [cut(bytes, from, count, plan.bytesPerBlock)];
    if (allMetadata !== undefined) parts.push(cut(allMetadata, from, count, metadataBytes));
    return throughBounce(mover.bounce, parts, mover.isRead, ([data, metadataRange]) =>
      mover.move(lba + BigInt(from), data ?? [], {
        ...rest,
        // A single command is given up by the signal itself.
        ...(count === blocks ? { signal } : {}),
        protection: advanced(format, rest.protection, from),
        metadata: metadataRange,
      }),
    );
  });
}

/** @throws ArgumentError if it isn't whole blocks, or reaches beyond the namespace */
function blocksOf({ namespace }: Mover, { bytesPerBlock }: Plan, lba: bigint, bytes: number): number {
  if (!(bytes > 0 && bytes % bytesPerBlock === 0)) {
    throw new ArgumentError(`length ${bytes} is not a multiple of the block size ${bytesPerBlock}`);
  }
  const blocks = bytes / bytesPerBlock;
  assertInside(namespace, lba, BigInt(blocks));
  return blocks;
}

/** Moves blocks by as many commands as it takes, a few of which are outstanding at a time. */
async function inPieces(
  mover: Mover,
  lba: bigint,
  blocks: number,
  plan: Plan,
  signal: AbortSignal | undefined,
  move: (from: number, count: number) => Promise<unknown>,
): Promise<void> {
  let at = 0;
  let failed = false;
  const run = async (): Promise<void> => {
    while (at < blocks && !failed) {
      signal?.throwIfAborted();
      const from = at;
      const most = Math.min(plan.blocksPerCommand, blocks - from);
      const count = blocksAt(mover, lba + BigInt(from), most);
      at += count;
      try {
        await move(from, count);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const runs = Array.from({ length: Math.min(plan.depth, Math.ceil(blocks / plan.blocksPerCommand)) }, run);
  // Waits for all of them, so that the buffers are free when the promise settles.
  const outcomes = await Promise.allSettled(runs);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

function wholeOf(given: DmaBuffer | DataList, offset?: number, length?: number): CommandData {
  if (!Array.isArray(given)) {
    assertDmaBuffer(given);
    const at = checkOffset("offset", offset ?? 0);
    return { buffer: given, offset: at, length: length ?? given.sizeBytes - at };
  }
  if (offset !== undefined || length !== undefined) {
    throw new ArgumentError("offset and length can't be combined with a list of ranges, which has its own");
  }
  assertCommandData(given);
  return given;
}

/** Advances the reference tag, which counts up from the first block of the range. */
function advanced(
  { protection }: BlockFormat,
  options: ProtectionOptions | undefined,
  blocks: number,
): ProtectionOptions | undefined {
  if (options?.referenceTag === undefined || protection === undefined || protection.format.type === 3) {
    return options;
  }
  const mask = (1n << BigInt(protection.referenceTagBits)) - 1n;
  return { ...options, referenceTag: (options.referenceTag + BigInt(blocks)) & mask };
}

/** See {@link NvmeNamespace.chunks}. Checks the arguments before it returns. */
export function readChunks(
  mover: Mover,
  first: bigint | number,
  blocks: bigint | number,
  options: ChunkOptions,
): AsyncGenerator<NvmeChunk, void, void> {
  checkKeys("options", options, chunkOptions);
  const lba = BigInt(checkLba("lba", first));
  const plan = planOf(mover, lba, options);
  const total =
    typeof blocks === "bigint" ? checkU64("blocks", blocks) : BigInt(checkOffset("blocks", blocks));
  assertInside(mover.namespace, lba, total);
  return chunksOf(mover, lba, total, plan, options);
}

/** A piece that is being read, or waits to be yielded. */
interface Slot {
  readonly data: DmaBuffer;
  readonly metadata: DmaBuffer | undefined;
  lba: bigint;
  blocks: number;
  done: Promise<unknown>;
}

async function* chunksOf(
  mover: Mover,
  lba: bigint,
  total: bigint,
  plan: Plan,
  options: ChunkOptions,
): AsyncGenerator<NvmeChunk, void, void> {
  const { signal, queue, fua, limitedRetry, protection } = options;
  const { bytesPerBlock, blocksPerCommand, strips } = plan;
  const { format, dma } = mover;
  const bySelf = format.metadataBytes > 0 && !format.extended && !strips;
  const slots: Slot[] = [];
  let started = 0n;
  /** Starts the next piece in a slot. */
  const start = (slot: Slot): boolean => {
    if (started === total) return false;
    const left = total - started;
    const most = left < BigInt(blocksPerCommand) ? Number(left) : blocksPerCommand;
    const count = blocksAt(mover, lba + started, most);
    slot.lba = lba + started;
    slot.blocks = count;
    const metadata = slot.metadata && {
      buffer: slot.metadata,
      offset: 0,
      length: count * format.metadataBytes,
    };
    slot.done = mover.move(
      slot.lba,
      { buffer: slot.data, offset: 0, length: count * bytesPerBlock },
      { queue, fua, limitedRetry, metadata, protection: advanced(format, protection, Number(started)) },
    );
    // The loop below awaits it later; until then it must not count as an unhandled rejection.
    slot.done.catch(() => {});
    started += BigInt(count);
    return true;
  };
  try {
    const pieces = Number((total + BigInt(blocksPerCommand) - 1n) / BigInt(blocksPerCommand));
    const waiting: Slot[] = [];
    for (let i = 0; i < Math.min(plan.depth, pieces); i++) {
      const data = dma.alloc(blocksPerCommand * bytesPerBlock);
      const slot: Slot = { data, metadata: undefined, lba, blocks: 0, done: Promise.resolve() };
      slots.push(slot);
      const whole = bySelf ? { ...slot, metadata: dma.alloc(blocksPerCommand * format.metadataBytes) } : slot;
      slots[i] = whole;
      start(whole);
      waiting.push(whole);
    }
    for (let slot = waiting.shift(); slot !== undefined; slot = waiting.shift()) {
      signal?.throwIfAborted();
      await slot.done;
      signal?.throwIfAborted();
      yield {
        lba: slot.lba,
        blocks: slot.blocks,
        bytes: slot.data.view(0, slot.blocks * bytesPerBlock),
        metadata: slot.metadata?.view(0, slot.blocks * format.metadataBytes),
      };
      if (start(slot)) waiting.push(slot);
    }
  } finally {
    await Promise.allSettled(slots.map(({ done }) => done));
    for (const { data, metadata } of slots) {
      data.close();
      metadata?.close();
    }
  }
}
