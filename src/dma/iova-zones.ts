import type { Iova } from "./iova.js";
import type { IovaAllocator, IovaPlacement } from "./iova-allocator.js";
import { IovaSpaceError } from "./iova-space-error.js";

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

  /** @throws IovaSpaceError where nothing fits */
  alloc(allocator: IovaAllocator, sizeBytes: number, placement: IovaPlacement = {}): Iova {
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
