/** Bitmaps of pages that devices have written to. */
import { checkInteger, checkLength, checkU64 } from "../core/check.js";

/** Most pages of one bitmap: it then has 1 GiB. */
const MOST_PAGES = 2 ** 33;

/** A run of dirty pages. */
export interface DirtyRange {
  /** First I/O virtual address. */
  readonly iova: bigint;
  /** Length in bytes, whole pages. */
  readonly sizeBytes: number;
}

/** The pages of a range that devices have written to: one bit per page from the range's start, lowest bit first. */
export class DirtyBitmap {
  constructor(
    /** Start of the range. */
    readonly iova: bigint,
    /** Bytes per bit. */
    readonly pageSizeBytes: number,
    /** Number of pages in the range. */
    readonly pages: number,
    /** The bits, which the kernel sets; whole 64-bit words. */
    readonly bits: Uint8Array,
  ) {}

  /** A clean bitmap of [iova, iova + sizeBytes), for the kernel to fill. @throws ArgumentError */
  static of(iova: bigint, sizeBytes: number, pageSizeBytes: number): DirtyBitmap {
    checkU64("iova", iova);
    checkLength("sizeBytes", sizeBytes);
    checkLength("pageSizeBytes", pageSizeBytes);
    const pages = Math.ceil(sizeBytes / pageSizeBytes);
    checkInteger("sizeBytes / pageSizeBytes", pages, 1, MOST_PAGES);
    return new DirtyBitmap(iova, pageSizeBytes, pages, new Uint8Array(Math.ceil(pages / 64) * 8));
  }

  /** Whether a page, counted from the range's start, is dirty. @throws ArgumentError outside the range */
  isDirty(page: number): boolean {
    checkInteger("page", page, 0, this.pages - 1);
    return this.bit(page);
  }

  /** Number of dirty pages. */
  get dirtyPages(): number {
    let count = 0;
    for (let page = 0; page < this.pages; page++) {
      // Skips eight clean pages at once: most bitmaps are nearly empty.
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

  /** The runs of dirty pages, ascending. */
  [Symbol.iterator](): Generator<DirtyRange> {
    return this.ranges();
  }

  private bit(page: number): boolean {
    return (((this.bits[page >> 3] ?? 0) >> (page & 7)) & 1) === 1;
  }
}
