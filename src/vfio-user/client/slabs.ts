/** Memory for buffers, cut out of few large memfds: a server takes few mappings (libvfio-user's takes 64 at most). */

import type { DmaAccess } from "../../dma/access.js";
import { type Iova, iova } from "../../dma/iova/address.js";
import { IovaAllocator, type IovaPlacement } from "../../dma/iova/allocator.js";
import { IovaSpaceError } from "../../dma/iova/error.js";
import type { MappedBytes } from "../../dma/mapper.js";
import { MappedMemory } from "../../sys/memory.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";

/** Size of the first slab. SPDK uses only memory that consists of whole units of 2 MiB. */
const FIRST_BYTES = 2 * 1024 * 1024;
/** Each further slab is twice as large as the largest, up to this. */
const LARGEST_BYTES = 256 * 1024 * 1024;

/** What maps slabs for the device. */
export interface SlabMapper {
  /** Unit of mappings in bytes. */
  alignmentBytes(): number;
  /** Maps a new memfd. @throws IovaSpaceError, SysError, UnsupportedError; with nothing left behind */
  mapSlab(sizeBytes: number, access: DmaAccess, placement: IovaPlacement): { at: Iova; fd: number };
  /** Unmaps it. */
  unmapFile(at: bigint, sizeBytes: number): void;
}

/** One memfd that the server has mapped, and what of it is free. */
export interface Slab {
  /** Where it is mapped. */
  readonly at: Iova;
  readonly sizeBytes: number;
  /** Its descriptor belongs to the mapping. */
  readonly fd: number;
  readonly access: DmaAccess;
  /** The highest address that was allowed for it. */
  readonly last: bigint | undefined;
  readonly free: IovaAllocator;
  usedBytes: number;
  /** Everything from here on has never been given out, so it is zero. */
  touchedBytes: number;
}

/** The slabs of one address space. */
export class BufferSlabs {
  private readonly slabs: Slab[] = [];

  constructor(private readonly mapper: SlabMapper) {}

  /**
   * Zeroed memory that is mapped already.
   * @param fixed where; inside a slab, or undefined is returned
   * @returns undefined where such a buffer needs a mapping of its own
   * @throws IovaSpaceError where something is at `fixed`; and as {@link SlabMapper.mapSlab}
   */
  take(
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement: IovaPlacement,
  ): MappedBytes | undefined {
    const roundedBytes = Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    if (roundedBytes > LARGEST_BYTES || (placement.alignBytes ?? 0) > FIRST_BYTES) return undefined;
    const place =
      fixed === undefined
        ? this.findPlace(roundedBytes, access, placement)
        : this.placeAt(roundedBytes, access, fixed);
    if (place === undefined) return undefined;
    const { slab, at } = place;
    slab.usedBytes += roundedBytes;
    try {
      const offset = Number(at - slab.at);
      const memory = MappedMemory.ofFile(slab.fd, offset, roundedBytes, `${roundedBytes} bytes of a memfd`);
      // Writing zeros, not giving the pages back: a server may have pinned them for a device of its own.
      if (offset < slab.touchedBytes) memory.bytes.fill(0, 0, slab.touchedBytes - offset);
      slab.touchedBytes = Math.max(slab.touchedBytes, offset + roundedBytes);
      return { memory, iova: at };
    } catch (error) {
      this.release(slab, at, roundedBytes, false);
      throw error;
    }
  }

  /** The slab with this address in it. */
  find(at: bigint): Slab | undefined {
    return this.slabs.find((slab) => at >= slab.at && at < slab.at + BigInt(slab.sizeBytes));
  }

  /**
   * Gives back what {@link take} returned. Unmaps a slab that is empty then, except one.
   * @param closing whether the address space is about to close: nothing is kept then
   */
  release(slab: Slab, at: bigint, sizeBytes: number, closing: boolean): void {
    slab.free.release(at, sizeBytes);
    slab.usedBytes -= sizeBytes;
    if (slab.usedBytes > 0) return;
    const isSpare =
      slab.sizeBytes <= this.unitBytes() &&
      !this.slabs.some((other) => other !== slab && other.usedBytes === 0);
    if (closing || !isSpare) this.drop(slab);
  }

  /**
   * Unmaps slabs that hold no buffer.
   * @param from only those that reach into [from, from + sizeBytes)
   */
  dropEmpty(from = 0n, sizeBytes = Number.POSITIVE_INFINITY): void {
    for (const slab of [...this.slabs]) {
      const isThere = from < slab.at + BigInt(slab.sizeBytes) && Number(slab.at) < Number(from) + sizeBytes;
      if (slab.usedBytes === 0 && isThere) this.drop(slab);
    }
  }

  private drop(slab: Slab): void {
    this.slabs.splice(this.slabs.indexOf(slab), 1);
    this.mapper.unmapFile(slab.at, slab.sizeBytes);
  }

  private unitBytes(): number {
    return Math.max(FIRST_BYTES, this.mapper.alignmentBytes());
  }

  /** Oldest slab first, so that the later ones become empty. */
  private findPlace(
    sizeBytes: number,
    access: DmaAccess,
    placement: IovaPlacement,
  ): { slab: Slab; at: Iova } | undefined {
    for (const slab of this.slabs) {
      if (slab.access !== access || slab.last !== placement.last) continue;
      if (slab.sizeBytes - slab.usedBytes < sizeBytes) continue;
      const at = placeIn(slab, sizeBytes, placement);
      if (at !== undefined) return { slab, at };
    }
    const slab = this.grow(sizeBytes, access, placement);
    if (slab === undefined) return undefined;
    const at = placeIn(slab, sizeBytes, placement);
    if (at !== undefined) return { slab, at };
    this.drop(slab);
    return undefined;
  }

  private placeAt(sizeBytes: number, access: DmaAccess, fixed: bigint): { slab: Slab; at: Iova } | undefined {
    const slab = this.find(fixed);
    if (slab === undefined || slab.access !== access) return undefined;
    if (fixed + BigInt(sizeBytes) > slab.at + BigInt(slab.sizeBytes)) return undefined;
    slab.free.reserve(fixed, sizeBytes);
    return { slab, at: iova(fixed) };
  }

  /** @returns undefined if no slab has room among the addresses */
  private grow(sizeBytes: number, access: DmaAccess, placement: IovaPlacement): Slab | undefined {
    const unit = this.unitBytes();
    const alike = this.slabs.filter((slab) => slab.access === access && slab.last === placement.last);
    const largest = alike.reduce((most, slab) => Math.max(most, slab.sizeBytes), 0);
    const least = Math.ceil(sizeBytes / unit) * unit;
    const wanted = Math.max(least, Math.min(2 * largest, LARGEST_BYTES));
    return this.add(wanted, access, placement) ?? this.add(least, access, placement);
  }

  private add(sizeBytes: number, access: DmaAccess, placement: IovaPlacement): Slab | undefined {
    const { last } = placement;
    try {
      const { at, fd } = this.mapper.mapSlab(sizeBytes, access, last === undefined ? {} : { last });
      const free = new IovaAllocator([{ start: at, last: iova(at + BigInt(sizeBytes) - 1n) }], PAGE_SIZE);
      const slab = { at, sizeBytes, fd, access, last, free, usedBytes: 0, touchedBytes: 0 };
      this.slabs.push(slab);
      return slab;
    } catch (error) {
      if (error instanceof IovaSpaceError) return undefined;
      throw error;
    }
  }
}

function placeIn(slab: Slab, sizeBytes: number, placement: IovaPlacement): Iova | undefined {
  try {
    const { alignBytes } = placement;
    return slab.free.alloc(sizeBytes, alignBytes === undefined ? undefined : { alignBytes });
  } catch (error) {
    // In pieces too small.
    if (error instanceof IovaSpaceError) return undefined;
    throw error;
  }
}
