/**
 * Hands out I/O virtual addresses where the kernel doesn't (VFIO type1): lowest fit within the ranges the IOMMU
 * can translate, nothing twice, and fixed addresses reserved like any other.
 */
import { ArgumentError, IovaError } from "../sys/errors.js";
import { type Iova, type IovaRange, iova } from "./iova.js";

/** No free range is large enough, or the one asked for is taken. */
export class IovaSpaceError extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_NO_SPACE", message);
  }
}

interface Range {
  start: bigint;
  last: bigint;
}

/** The same addresses in as few ranges as hold them, lowest first. */
function joined(ranges: readonly IovaRange[]): Range[] {
  const result: Range[] = [];
  for (const { start, last } of [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    const before = result.at(-1);
    if (before !== undefined && before.last + 1n === start) before.last = last;
    else result.push({ start, last });
  }
  return result;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

export class IovaAllocator {
  /** Free ranges, sorted, disjoint and never adjacent (neighbours are merged). */
  private readonly free: Range[];
  /** The same before anything was handed out. */
  private readonly usable: readonly Readonly<Range>[];

  /**
   * @param usable what the IOMMU translates, holes (reserved regions) already cut out
   * @param granuleBytes smallest unit of a mapping: addresses and lengths are multiples of it
   */
  constructor(
    usable: readonly IovaRange[],
    readonly granuleBytes: number,
  ) {
    const granule = BigInt(granuleBytes);
    this.free = [];
    for (const range of joined(usable)) {
      // Address 0 is never given out: to drivers and devices alike it reads as "none".
      const start = range.start === 0n ? granule : ((range.start + granule - 1n) / granule) * granule;
      const end = ((range.last + 1n) / granule) * granule;
      if (end > start) this.free.push({ start, last: end - 1n });
    }
    this.usable = [...this.free];
  }

  /**
   * @param alignBytes power of two, at least the granule
   * @throws IovaSpaceError where nothing fits
   */
  alloc(sizeBytes: number, alignBytes = this.granuleBytes): Iova {
    const size = this.checkSize(sizeBytes);
    const align = BigInt(Math.max(alignBytes, this.granuleBytes));
    for (const [i, range] of this.free.entries()) {
      const start = ((range.start + align - 1n) / align) * align;
      if (start + size - 1n <= range.last) {
        this.cut(i, start, start + size - 1n);
        return iova(start);
      }
    }
    throw new IovaSpaceError(`no free I/O virtual addresses for ${sizeBytes} bytes aligned to ${alignBytes}`);
  }

  /** Takes a fixed range. @throws IovaSpaceError where any of it is taken, reserved or beyond the IOMMU's reach */
  reserve(start: bigint, sizeBytes: number): void {
    const size = this.checkSize(sizeBytes);
    if (start % BigInt(this.granuleBytes) !== 0n) {
      throw new ArgumentError(`iova ${hex(start)} is not a multiple of ${this.granuleBytes}`);
    }
    const last = start + size - 1n;
    const index = this.free.findIndex((range) => range.start <= start && last <= range.last);
    if (index < 0) {
      throw new IovaSpaceError(
        this.isUsable(start, last)
          ? `iova ${hex(start)}..${hex(last)} is mapped already`
          : `iova ${hex(start)}..${hex(last)} is reserved or beyond what this IOMMU translates`,
      );
    }
    this.cut(index, start, last);
  }

  /** Gives a range back. @throws ArgumentError where any of it isn't handed out */
  release(start: bigint, sizeBytes: number): void {
    const last = start + this.checkSize(sizeBytes) - 1n;
    if (!this.isUsable(start, last)) {
      throw new ArgumentError(`iova ${hex(start)}..${hex(last)} was never handed out`);
    }
    let index = this.free.findIndex((range) => range.start > start);
    if (index < 0) index = this.free.length;
    const before = this.free[index - 1];
    const after = this.free[index];
    if ((before !== undefined && before.last >= start) || (after !== undefined && after.start <= last)) {
      throw new ArgumentError(`iova ${hex(start)}..${hex(last)} is free already`);
    }
    const merged = { start, last };
    let from = index;
    let count = 0;
    if (before !== undefined && before.last + 1n === start) {
      merged.start = before.start;
      from = index - 1;
      count++;
    }
    if (after !== undefined && after.start === last + 1n) {
      merged.last = after.last;
      count++;
    }
    this.free.splice(from, count, merged);
  }

  /** Bytes not handed out. */
  get freeBytes(): bigint {
    return this.free.reduce((sum, range) => sum + (range.last - range.start + 1n), 0n);
  }

  private isUsable(start: bigint, last: bigint): boolean {
    return this.usable.some((range) => range.start <= start && last <= range.last);
  }

  private checkSize(sizeBytes: number): bigint {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % this.granuleBytes !== 0) {
      throw new ArgumentError(`size must be a positive multiple of ${this.granuleBytes}, got ${sizeBytes}`);
    }
    return BigInt(sizeBytes);
  }

  private cut(index: number, start: bigint, last: bigint): void {
    const range = this.free[index];
    if (range === undefined) return;
    const rest: Range[] = [];
    if (range.start < start) rest.push({ start: range.start, last: start - 1n });
    if (last < range.last) rest.push({ start: last + 1n, last: range.last });
    this.free.splice(index, 1, ...rest);
  }
}
