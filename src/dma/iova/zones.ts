/** Rules for placing a mapping: huge pages, and limits of devices with few address bits. */
import type { Iova } from "./address.js";
import type { IovaAllocator, IovaPlacement } from "./allocator.js";
import { IovaSpaceError } from "./error.js";

/** Pages that an IOMMU's tables can map as one, largest first: a level of the table each. */
const HUGE_PAGES = [2 ** 30, 2 ** 21];
const SMALLEST_HUGE_PAGE = 2 ** 21;

/**
 * The alignment with which an IOMMU can use its huge pages for memory that starts at `origin`, a virtual address or a place in
 * a file; 0 for what fills none.
 */
export function hugeAlignment(origin: number, sizeBytes: number): number {
  // Most are smaller, and mapping them has to cost little.
  if (sizeBytes < SMALLEST_HUGE_PAGE) return 0;
  return HUGE_PAGES.find((pageBytes) => sizeBytes >= pageBytes && origin % pageBytes === 0) ?? 0;
}

/**
 * Several address widths in one space: once something had to lie below a limit, whatever needn't is placed above it as
 * long as there is room, so that wide devices don't use up what only narrow ones need.
 */
export class IovaZones {
  /** Limits asked for so far, highest first. */
  private limits: bigint[] = [];

  /** Whether a placement, or the lack of one, takes more than a free range. */
  matter(placement: IovaPlacement | undefined): boolean {
    return placement !== undefined || this.limits.length > 0;
  }

  /**
   * @param alignBytes is kept as long as there is such a place: of huge pages more are needed otherwise
   * @throws IovaSpaceError where nothing fits
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
