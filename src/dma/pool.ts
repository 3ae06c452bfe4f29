/**
 * A pool of small buffers in few large mappings. alloc() and free() make no system call and no garbage: a handle is a number,
 * and typed arrays hold the state.
 */

import { checkArray, checkInteger, checkKeys, checkPowerOfTwo, show } from "../core/check.js";
import { ArgumentError, IovaError, StateError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { largestOf } from "../core/lists.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { DmaBuffer } from "./buffer.js";
import { type Iova, iova } from "./iova/address.js";
import { type AllocOptions, allocOptions, type DmaSpace } from "./space.js";

declare const brand: unique symbol;

/**
 * Handle of a block of a {@link DmaPool} in use. A 32-bit number of the block's position and a count of its allocations, so
 * that the pool detects stale handles.
 */
export type PoolHandle = number & {
  /** Exists only for the type checker: other numbers aren't handles. */
  readonly [brand]: "PoolHandle";
};

/** Options of {@link DmaPool}. Options of {@link DmaSpace.alloc} apply to the mappings. */
export interface DmaPoolOptions extends Omit<AllocOptions, "iova" | "scattered" | "shared"> {
  /**
   * Sizes of blocks in bytes, multiples of 64; powers of two from 64 bytes to 64 KiB by default. A request gets the smallest
   * block that fits. A block whose size is a power of two is aligned to its size, up to a page.
   */
  readonly blockSizes?: readonly number[] | undefined;
  /** Size of one mapping in bytes, a power of two. 2 MiB by default: one huge page, depending on `pages`. */
  readonly slabBytes?: number | undefined;
  /** Most bytes to map. 64 MiB by default. */
  readonly maxBytes?: number | undefined;
  /** Maps `maxBytes` at once: later requests map nothing, and fail only when all is in use. Needs a single block size. */
  readonly prefill?: boolean | undefined;
}

/** Sizes and usage of a pool. */
export interface DmaPoolStats {
  /** Blocks in use. */
  readonly inUse: number;
  /** Bytes requested for these blocks. */
  readonly inUseBytes: number;
  /** Most bytes of blocks in use at the same time so far. */
  readonly highWaterBytes: number;
  /** Bytes mapped. */
  readonly mappedBytes: number;
  /** Wasted part of the blocks in use, from rounding up, 0 to 1. */
  readonly internalFragmentation: number;
  /** Part of the mapped bytes, 0 to 1, that is free but usable only for one block size, as its mapping is in use. */
  readonly externalFragmentation: number;
  /** For each block size. */
  readonly sizes: readonly {
    /** Length of one block in bytes. */
    readonly blockBytes: number;
    /** Mapped blocks of this size. */
    readonly blocks: number;
    /** Blocks of this size in use. */
    readonly inUse: number;
    /** Most blocks of this size in use at the same time so far. */
    readonly highWater: number;
  }[];
}

/** All blocks are in use, and the pool's limit forbids further mappings. */
export class PoolExhaustedError extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_POOL_EXHAUSTED", message);
  }
}

const poolOptions: readonly string[] = [
  ...allocOptions.filter((name) => !["iova", "scattered", "shared"].includes(name)),
  "blockSizes",
  "slabBytes",
  "maxBytes",
  "prefill",
];

/** Blocks are multiples of a cache line, so that no two share one. */
const LINE_BYTES = 64;
const LINE_SHIFT = 6;
const DEFAULT_SIZES = Array.from({ length: 11 }, (_, i) => LINE_BYTES << i);
const MAX_POOL_BYTES = 2 ** 30;
/** Fewest bits of a handle that count the allocations of a block. The other bits hold the block's position. */
const MIN_GENERATION_BITS = 8;

/** All blocks of one size. */
interface SizeClass {
  readonly blockBytes: number;
  /** Ring of free blocks. The block that was freed first is reused first, so that stale handles are detected for longer. */
  ring: Int32Array;
  head: number;
  free: number;
  blocks: number;
  highWater: number;
}

/** One mapping, cut into blocks of one size. */
interface Slab {
  readonly buffer: DmaBuffer;
  size: SizeClass;
  used: number;
  /** By block: its current handle, or 0 if it is free. */
  live: Int32Array;
  /** By block: its number of allocations, modulo what a handle can count. */
  generations: Int32Array;
  /** By block: bytes requested. */
  asked: Int32Array;
  /** By block: its view, created at first use. */
  views: (Uint8Array<SharedArrayBuffer> | undefined)[];
}

/** A pool of small blocks in few large mappings. Taking a block and freeing it makes no system call and no garbage. */
export class DmaPool extends Resource {
  /** Bytes of the largest block. */
  readonly maxBlockBytes: number;
  private readonly slabBytes: number;
  private readonly maxSlabs: number;
  private readonly indexBits: number;
  private readonly slotBits: number;
  private readonly generationMask: number;
  private readonly slabs: Slab[];
  private readonly sizes: readonly SizeClass[];
  /** Index in `sizes` by the requested number of cache lines. */
  private readonly sizeOf: Uint8Array;
  private readonly allocOptions: AllocOptions;
  private usedBlocks = 0;
  private askedBytes = 0;
  private blockBytesInUse = 0;
  private highWaterBytes = 0;

  /**
   * Maps nothing yet, unless `prefill` is set.
   * @throws ArgumentError, ClosedError; as {@link DmaSpace.alloc} if `prefill` is set
   */
  constructor(
    /** The address space of the blocks. */
    readonly space: DmaSpace,
    options: DmaPoolOptions = {},
  ) {
    checkLeased("space", space, "a DmaSpace", { alloc: "function" });
    checkKeys("options", options, poolOptions);
    const {
      blockSizes = DEFAULT_SIZES,
      slabBytes = 2 ** 21,
      maxBytes = 2 ** 26,
      prefill = false,
      ...rest
    } = options;
    checkPowerOfTwo("slabBytes", slabBytes, PAGE_SIZE, MAX_POOL_BYTES);
    checkInteger("maxBytes", maxBytes, slabBytes, MAX_POOL_BYTES);
    checkArray("blockSizes", blockSizes);
    for (const size of blockSizes) {
      checkInteger("a block size", size, LINE_BYTES, slabBytes);
      if (size % LINE_BYTES !== 0)
        throw new ArgumentError(`a block size must be a multiple of ${LINE_BYTES}, got ${show(size)}`);
    }
    const sizes = [...new Set(blockSizes)].sort((a, b) => a - b);
    const [smallest] = sizes;
    if (smallest === undefined || sizes.length > 255)
      throw new ArgumentError(`blockSizes must have 1 to 255 sizes, got ${sizes.length}`);
    if (prefill && sizes.length > 1)
      throw new ArgumentError(`prefill needs a single block size, got ${sizes.length}`);
    const maxSlabs = Math.floor(maxBytes / slabBytes);
    const indexBits = bitsFor(Math.floor(slabBytes / smallest));
    const slotBits = indexBits + bitsFor(maxSlabs);
    if (slotBits > 32 - MIN_GENERATION_BITS) {
      throw new ArgumentError(
        `maxBytes ${maxBytes} has too many blocks of ${smallest} bytes for 32-bit handles: use fewer bytes or larger blocks`,
      );
    }
    const slabs: Slab[] = [];
    const label = `DMA pool of up to ${maxBytes} bytes`;
    super({ label, release: () => slabs.splice(0), parents: [space] });
    this.slabs = slabs;
    this.slabBytes = slabBytes;
    this.maxSlabs = maxSlabs;
    this.indexBits = indexBits;
    this.slotBits = slotBits;
    // The low 32 - slotBits bits are ones.
    this.generationMask = 2 ** (32 - slotBits) - 1;
    this.allocOptions = rest;
    this.sizes = sizes.map((blockBytes) => ({
      blockBytes,
      ring: new Int32Array(1),
      head: 0,
      free: 0,
      blocks: 0,
      highWater: 0,
    }));
    this.maxBlockBytes = sizes.at(-1) ?? smallest;
    const lines = this.maxBlockBytes >> LINE_SHIFT;
    this.sizeOf = Uint8Array.from({ length: lines + 1 }, (_, n) =>
      sizes.findIndex((size) => size >= n << LINE_SHIFT),
    );
    if (prefill) {
      try {
        for (const size of this.sizes) while (this.slabs.length < maxSlabs) this.addSlab(size);
      } catch (error) {
        this.close();
        throw error;
      }
    }
  }

  /**
   * Takes a block of at least `sizeBytes` (1 to {@link maxBlockBytes}). It isn't zeroed: it may hold a former user's data.
   * @throws ArgumentError, PoolExhaustedError, ClosedError; as {@link DmaSpace.alloc} if it needs a new mapping
   */
  alloc(sizeBytes: number): PoolHandle {
    if (
      typeof sizeBytes !== "number" ||
      (sizeBytes | 0) !== sizeBytes ||
      sizeBytes <= 0 ||
      sizeBytes > this.maxBlockBytes
    ) {
      throw new ArgumentError(
        `sizeBytes must be 1 to ${this.maxBlockBytes}, the largest block, got ${show(sizeBytes)}`,
      );
    }
    const size = this.sizes[this.sizeOf[(sizeBytes + LINE_BYTES - 1) >> LINE_SHIFT] ?? 0];
    if (size === undefined) throw new ArgumentError(`no block size for ${sizeBytes} bytes`);
    if (size.free === 0) this.grow(size);
    const { ring } = size;
    const slot = ring[size.head] ?? 0;
    size.head = (size.head + 1) & (ring.length - 1);
    size.free--;
    const slab = this.slabs[slot >>> this.indexBits];
    if (slab === undefined) {
      // The pool's close() removes the mappings; nothing else does.
      this.lease.assertOpen();
      throw new StateError("a free block belongs to no mapping");
    }
    const index = slot & ((1 << this.indexBits) - 1);
    // Generation 0 is skipped, so that no handle is 0, which means "free".
    const generation = ((slab.generations[index] ?? 0) + 1) & this.generationMask || 1;
    const handle = (generation << this.slotBits) | slot;
    slab.generations[index] = generation;
    slab.live[index] = handle;
    slab.asked[index] = sizeBytes;
    slab.used++;
    this.usedBlocks++;
    this.askedBytes += sizeBytes;
    this.blockBytesInUse += size.blockBytes;
    if (this.blockBytesInUse > this.highWaterBytes) this.highWaterBytes = this.blockBytesInUse;
    if (size.blocks - size.free > size.highWater) size.highWater = size.blocks - size.free;
    return handle as PoolHandle;
  }

  /** Frees a block. Its handle is invalid afterwards. @throws StateError if the handle isn't in use; ClosedError */
  free(handle: PoolHandle): void {
    const slab = this.slabOf(handle);
    const slot = handle & ((1 << this.slotBits) - 1);
    const index = slot & ((1 << this.indexBits) - 1);
    const { size } = slab;
    slab.live[index] = 0;
    slab.used--;
    size.ring[(size.head + size.free) & (size.ring.length - 1)] = slot;
    size.free++;
    this.usedBlocks--;
    this.askedBytes -= slab.asked[index] ?? 0;
    this.blockBytesInUse -= size.blockBytes;
  }

  /** The whole block's bytes, always the same view. Don't use it after {@link free}. @throws StateError, ClosedError */
  bytes(handle: PoolHandle): Uint8Array<SharedArrayBuffer> {
    const slab = this.slabOf(handle);
    const index = this.indexOf(handle);
    const known = slab.views[index];
    if (known !== undefined) return known;
    const { blockBytes } = slab.size;
    const view = slab.buffer.view(index * blockBytes, blockBytes);
    slab.views[index] = view;
    return view;
  }

  /** Low 32 bits of the block's I/O virtual address. @throws StateError, ClosedError */
  iovaLow(handle: PoolHandle): number {
    const low = this.slabOf(handle).buffer.iovaLow + this.offset(handle);
    return low >= 2 ** 32 ? low - 2 ** 32 : low;
  }

  /** High 32 bits of the block's I/O virtual address. @throws StateError, ClosedError */
  iovaHigh(handle: PoolHandle): number {
    const { buffer } = this.slabOf(handle);
    return buffer.iovaLow + this.offset(handle) >= 2 ** 32 ? buffer.iovaHigh + 1 : buffer.iovaHigh;
  }

  /** Writes both halves of the address into a descriptor, low half first, without garbage. @throws StateError, ClosedError */
  writeIova(handle: PoolHandle, words: Uint32Array, at: number): void {
    const { buffer } = this.slabOf(handle);
    const low = buffer.iovaLow + this.offset(handle);
    // A store into 32 bits drops the carry.
    words[at] = low;
    words[at + 1] = low >= 2 ** 32 ? buffer.iovaHigh + 1 : buffer.iovaHigh;
  }

  /** I/O virtual address of the block, a new bigint. @throws StateError, ClosedError */
  iova(handle: PoolHandle): Iova {
    return iova(this.slabOf(handle).buffer.iova + BigInt(this.offset(handle)));
  }

  /** The buffer that contains the block at {@link offset}, for calls that take a buffer. @throws StateError, ClosedError */
  buffer(handle: PoolHandle): DmaBuffer {
    return this.slabOf(handle).buffer;
  }

  /** Offset of the block in {@link buffer}, in bytes. @throws StateError, ClosedError */
  offset(handle: PoolHandle): number {
    const { size } = this.slabOf(handle);
    return this.indexOf(handle) * size.blockBytes;
  }

  /** The size that was passed to {@link alloc}. @throws StateError, ClosedError */
  sizeBytes(handle: PoolHandle): number {
    const { asked } = this.slabOf(handle);
    return asked[this.indexOf(handle)] ?? 0;
  }

  /** The pool's sizes and usage. */
  stats(): DmaPoolStats {
    const mappedBytes = this.slabs.length * this.slabBytes;
    const tied = this.slabs.reduce(
      (sum, { used, size }) => sum + (used === 0 ? 0 : this.slabBytes - used * size.blockBytes),
      0,
    );
    return {
      inUse: this.usedBlocks,
      inUseBytes: this.askedBytes,
      highWaterBytes: this.highWaterBytes,
      mappedBytes,
      internalFragmentation: this.blockBytesInUse === 0 ? 0 : 1 - this.askedBytes / this.blockBytesInUse,
      externalFragmentation: mappedBytes === 0 ? 0 : tied / mappedBytes,
      sizes: this.sizes.map(({ blockBytes, blocks, free, highWater }) => ({
        blockBytes,
        blocks,
        inUse: blocks - free,
        highWater,
      })),
    };
  }

  private indexOf(handle: PoolHandle): number {
    return handle & ((1 << this.indexBits) - 1);
  }

  private slabOf(handle: PoolHandle): Slab {
    if (typeof handle !== "number") throw new ArgumentError(`handle must be a number, got ${show(handle)}`);
    const slab = this.slabs[(handle & ((1 << this.slotBits) - 1)) >>> this.indexBits];
    if (slab === undefined || slab.live[handle & ((1 << this.indexBits) - 1)] !== handle || handle === 0) {
      this.lease.assertOpen();
      throw new StateError(`handle ${show(handle)} is not in use: it was freed, or belongs to another pool`);
    }
    return slab;
  }

  /** Adds a mapping of blocks of this size. */
  private grow(size: SizeClass): void {
    this.lease.assertOpen();
    if (this.slabs.length < this.maxSlabs) {
      this.addSlab(size);
      return;
    }
    // A mapping of another size without blocks in use can be divided again.
    const unused = this.slabs.findIndex(({ used, size: other }) => used === 0 && other !== size);
    const slab = this.slabs[unused];
    if (slab === undefined) {
      const mapped = this.slabs.length * this.slabBytes;
      throw new PoolExhaustedError(
        `all blocks of ${size.blockBytes} bytes are in use, and the pool has mapped its limit of ${mapped} bytes: free blocks or raise maxBytes`,
      );
    }
    // Counting continues from here, so that old handles stay stale.
    const generation = largestOf(slab.generations);
    const before = slab.size;
    const others = this.freeSlots(before).filter((slot) => slot >>> this.indexBits !== unused);
    before.blocks -= slab.live.length;
    this.setFree(before, others);
    slab.size = size;
    this.carve(slab, unused, generation);
  }

  private addSlab(size: SizeClass): void {
    const buffer = this.space.alloc(this.slabBytes, this.allocOptions);
    // From now on the pool closes the buffer.
    buffer.lease.dependOn(this.lease);
    buffer.relinquish();
    const none = new Int32Array(0);
    const slab = { buffer, size, used: 0, live: none, generations: none, asked: none, views: [] };
    this.slabs.push(slab);
    this.carve(slab, this.slabs.length - 1, 0);
  }

  /** Divides a mapping into blocks. @param generation where counting starts, so that old handles stay stale */
  private carve(slab: Slab, number: number, generation: number): void {
    const { size } = slab;
    const blocks = Math.floor(this.slabBytes / size.blockBytes);
    slab.live = new Int32Array(blocks);
    slab.generations = new Int32Array(blocks).fill(generation);
    slab.asked = new Int32Array(blocks);
    slab.views = new Array<undefined>(blocks).fill(undefined);
    const added = Array.from({ length: blocks }, (_, index) => (number << this.indexBits) | index);
    size.blocks += blocks;
    this.setFree(size, [...this.freeSlots(size), ...added]);
  }

  private freeSlots({ ring, head, free }: SizeClass): number[] {
    return Array.from({ length: free }, (_, i) => ring[(head + i) & (ring.length - 1)] ?? 0);
  }

  private setFree(size: SizeClass, slots: readonly number[]): void {
    // A power of two that has room for all blocks.
    size.ring = new Int32Array(2 ** bitsFor(Math.max(2, size.blocks)));
    size.ring.set(slots);
    size.head = 0;
    size.free = slots.length;
  }
}

/** Bits of an index below `count`. */
function bitsFor(count: number): number {
  return Math.ceil(Math.log2(count));
}
