/** Rules for the address of a mapping: huge pages, and devices with few address bits. */
import type { Iova } from "./address.js";
import type { IovaAllocator, IovaPlacement } from "./allocator.js";
import { IovaSpaceError } from "./error.js";

/** Sizes of an IOMMU's huge pages, largest first; each is a level of its page table. */
const HUGE_PAGES = [2 ** 30, 2 ** 21];
const SMALLEST_HUGE_PAGE = 2 ** 21;

/**
 * Alignment in bytes that lets an IOMMU use huge pages; 0 if the memory fills none.
 * @param origin virtual address or file offset of the memory
 */
export function hugeAlignment(origin: number, sizeBytes: number): number {
  // The fast path: most mappings are smaller.
  if (sizeBytes < SMALLEST_HUGE_PAGE) return 0;
  return HUGE_PAGES.find((pageBytes) => sizeBytes >= pageBytes && origin % pageBytes === 0) ?? 0;
}

/**
 * Address limits in one space. After an allocation with a limit, others are placed above that limit if possible. So they
 * leave the addresses below it to devices with few address bits.
 */
export class IovaZones {
  /** Limits requested so far, highest first. */
  private limits: bigint[] = [];

  /** Whether an allocation must go through {@link alloc}: it has a placement, or there are limits. */
  matter(placement: IovaPlacement | undefined): boolean {
    return placement !== undefined || this.limits.length > 0;
  }

  /**
   * @param alignBytes preferred alignment, for huge pages; ignored if no such range is free
   * @throws IovaSpaceError if no free range fits
   */
  alloc(
    allocator: IovaAllocator,
    sizeBytes: number,
    placement: IovaPlacement = {},
    alignBytes: number = 0,
  ): Iova {
    if (alignBytes > (placement.alignBytes ?? 0)) {
      try {
        return this.place(allocator, sizeBytes, { ...placement, alignBytes });
      } catch (error) {
        if (!(error instanceof IovaSpaceError)) throw error;
      }
    }
    return this.place(allocator, sizeBytes, placement);
  }

  private place(allocator: IovaAllocator, sizeBytes: number, placement: IovaPlacement): Iova {
    const { last } = placement;
    if (last !== undefined && !this.limits.includes(last)) {
      this.limits = [...this.limits, last].sort((a, b) => (a < b ? 1 : -1));
    }
    for (const limit of this.limits) {
      if (last !== undefined && limit >= last) continue;
      try {
        return allocator.alloc(sizeBytes, { ...placement, first: limit + 1n });
      } catch (error) {
        if (!(error instanceof IovaSpaceError)) throw error;
      }
    }
    return allocator.alloc(sizeBytes, placement);
  }
}
