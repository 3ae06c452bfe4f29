import { checkInteger } from "../sys/check.js";

/** A run of dirty pages. */
export interface DirtyRange {
  /** First I/O virtual address. */
  readonly iova: bigint;
  readonly sizeBytes: number;
}

/** Which pages of a range devices wrote to: one bit a page, counted from the range's start, lowest bit first. */
export class DirtyBitmap {
  constructor(
    /** Start of the range. */
    readonly iova: bigint,
    readonly pageSizeBytes: number,
    /** Number of pages the bitmap speaks of. */
    readonly pages: number,
    /** The bits as the kernel wrote them. */
    readonly bits: Uint8Array,
  ) {}

  /** Whether a page, counted from the range's start, is dirty. @throws ArgumentError outside the range */
  isDirty(page: number): boolean {
    checkInteger("page", page, 0, this.pages - 1);
    return this.bit(page);
  }

  /** Number of dirty pages. */
  get dirtyPages(): number {
    let count = 0;
    for (let page = 0; page < this.pages; page++) {
      // Eight clean pages at a time: most bitmaps are nearly empty.
      if ((page & 7) === 0 && this.bits[page >> 3] === 0) page += 7;
      else if (this.bit(page)) count++;
    }
    return count;
  }

  /** Runs of dirty pages, in ascending order, as long as possible. */
  *ranges(): Generator<DirtyRange> {
    for (let page = 0; page < this.pages; page++) {
      if ((page & 7) === 0 && this.bits[page >> 3] === 0) {
        page += 7;
        continue;
      }
      if (!this.bit(page)) continue;
      const first = page;
      while (page < this.pages && this.bit(page)) page++;
      yield {
        iova: this.iova + BigInt(first) * BigInt(this.pageSizeBytes),
        sizeBytes: (page - first) * this.pageSizeBytes,
      };
    }
  }

  [Symbol.iterator](): Generator<DirtyRange> {
    return this.ranges();
  }

  private bit(page: number): boolean {
    return (((this.bits[page >> 3] ?? 0) >> (page & 7)) & 1) === 1;
  }
}
