/** The record of pages that a served device wrote to. */
import { Errno } from "../../core/errno.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import { Refusal } from "./refusal.js";

/** A range of I/O virtual addresses, end exclusive. */
export interface LoggedSpan {
  readonly start: bigint;
  readonly end: bigint;
}

/** Pages of the client's memory that the device was given to write to, since they were last told. */
export class DirtyLog {
  private readonly pages = new Set<number>();

  /** @param spans what is watched; everything where empty */
  constructor(private readonly spans: readonly LoggedSpan[]) {}

  /** Notes a write. What lies in a page with it counts as written. */
  mark(iova: number, lengthBytes: number): void {
    const last = Math.floor((iova + lengthBytes - 1) / PAGE_SIZE);
    for (let page = Math.floor(iova / PAGE_SIZE); page <= last; page++) {
      if (this.isWatched(page)) this.pages.add(page);
    }
  }

  /**
   * A bitmap of [start, start + lengthBytes) with one bit for each `pageBytes`, and forgets what it tells.
   * @param maxBytes of the bitmap @throws Refusal
   */
  report(start: bigint, lengthBytes: bigint, pageBytes: bigint, maxBytes: number): Uint8Array {
    const isPowerOfTwo = pageBytes > 0n && (pageBytes & (pageBytes - 1n)) === 0n;
    if (!isPowerOfTwo || lengthBytes === 0n || start + lengthBytes > 2n ** 64n)
      throw new Refusal(Errno.EINVAL);
    const bits = (lengthBytes + pageBytes - 1n) / pageBytes;
    const bytes = ((bits + 63n) / 64n) * 8n;
    if (bytes > BigInt(maxBytes)) throw new Refusal(Errno.E2BIG);
    const bitmap = new Uint8Array(Number(bytes));
    const end = start + lengthBytes;
    const unit = BigInt(PAGE_SIZE);
    for (const page of this.pages) {
      const at = BigInt(page) * unit;
      if (at + unit <= start || at >= end) continue;
      const first = at > start ? (at - start) / pageBytes : 0n;
      const beyond = at + unit < end ? at + unit : end;
      for (let bit = Number(first); bit <= Number((beyond - start - 1n) / pageBytes); bit++) {
        bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7));
      }
      // Of a page that is told in part the rest is still to be told.
      if (at >= start && at + unit <= end) this.pages.delete(page);
    }
    return bitmap;
  }

  private isWatched(page: number): boolean {
    if (this.spans.length === 0) return true;
    const at = BigInt(page) * BigInt(PAGE_SIZE);
    return this.spans.some(({ start, end }) => at < end && at + BigInt(PAGE_SIZE) > start);
  }
}
