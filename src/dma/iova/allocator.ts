/**
 * Allocates I/O virtual addresses if the kernel doesn't (VFIO type1), or can't place them as requested (iommufd). It uses
 * best fit within the ranges that the IOMMU can translate. Fixed addresses are reserved in the same way.
 *
 * A table holds every range, free or allocated, by its start, and free ranges by their last granule as well. So release()
 * finds free neighbours in two lookups. There is one table for both, and neighbouring keys share a cache line, because cache
 * misses dominate with many ranges. Bins hold the free ranges by size: a bin per size below 256 granules, and sixteen per
 * power of two above, so that the choice is at most a sixteenth larger than the best. No step depends on the number of ranges.
 *
 * Internal addresses count granules: a 64-bit address space has 2^52 pages, so plain numbers are exact.
 */
import {
  checkArray,
  checkKeys,
  checkLength,
  checkObject,
  checkOffset,
  checkPowerOfTwo,
  checkU64,
  show,
} from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { IOVA_PAGE, type Iova, type IovaRange, iovaOfPage, pageOfIova } from "./address.js";
import { IovaSpaceError } from "./error.js";
import { NumberTable } from "./number-table.js";
import { PageSet } from "./page-set.js";
import { binOf, SizeBins } from "./size-bins.js";

/** Smallest granule that keeps numbers exact. */
const MIN_GRANULE = 4096;
const MAX_GRANULE = 2 ** 30;
/** Free ranges of a bin that a search compares. If it finds none, a second search compares all. */
const LOOKS = 16;
/** Most limits with bins of their own. Further limits work, but need longer searches. */
const MAX_CUTS = 8;
const NO_LIMIT = Number.MAX_SAFE_INTEGER;
/** Larger than any length. The table's value at the last granule of a free range is its length plus this. */
const LAST = 2 ** 52;

/** Where an allocation may lie. */
export interface IovaPlacement {
  /** Power of two; at least the granule is used. */
  readonly alignBytes?: number | undefined;
  /** Lowest address. */
  readonly first?: bigint | undefined;
  /** Highest address of its last byte: 2^n - 1 for a device with n address bits. */
  readonly last?: bigint | undefined;
}

/** Free space of an {@link IovaAllocator}. */
export interface IovaAllocatorStats {
  /** Free bytes. */
  readonly freeBytes: bigint;
  /** Bytes of the largest free range. */
  readonly largestFreeBytes: bigint;
  /** Number of free ranges; adjacent ones are joined. */
  readonly freeRanges: number;
}

/** In granules, both ends included. */
interface Range {
  start: number;
  last: number;
}

/** Sorts ranges, and joins those that touch or overlap. @throws ArgumentError if a range ends before its start */
function joined(ranges: readonly IovaRange[]): { start: bigint; last: bigint }[] {
  const result: { start: bigint; last: bigint }[] = [];
  checkArray("ranges", ranges);
  for (const range of ranges) {
    checkObject("range", range);
    checkU64("start", range.start);
  }
  for (const { start, last } of [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    if (checkU64("last", last) < start) {
      throw new ArgumentError(`a range can't start at ${hex(start)} and end at ${hex(last)}`);
    }
    const before = result.at(-1);
    if (before !== undefined && before.last + 1n >= start) {
      if (last > before.last) before.last = last;
    } else result.push({ start, last });
  }
  return result;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/**
 * Allocates ranges of I/O virtual addresses, at the start of the smallest free range that fits, and never at address 0. The
 * cost of a call doesn't grow with the number of ranges.
 */
export class IovaAllocator {
  /**
   * Length of each range by its start; negative for free ranges. Free ranges are never adjacent. Those of several granules
   * have a second entry at their last granule: the length plus LAST. The note of a free range is its slot in its bin, which
   * makes removal a direct access.
   */
  private readonly ranges = new NumberTable();
  /** Starts of free ranges in order. Created at first use: most programs use neither fixed addresses nor limits. */
  private freeInOrder: PageSet | undefined = undefined;
  /** Limits requested so far, ascending. Free ranges that start at or above a limit have bins of their own. */
  private readonly cuts: number[] = [];
  /** Bins of free ranges that start before the first cut, before the second, ..., after the last. */
  private bins = [new SizeBins()];
  private freeRanges = 0;
  private freeGranules = 0;
  /** The free ranges at the beginning. */
  private readonly usable: readonly Readonly<Range>[];
  private readonly granule: bigint;
  private readonly pagesPerGranule: number;

  /**
   * @param usable ranges that the IOMMU translates, without reserved regions
   * @param granuleBytes smallest unit of a mapping, a power of two from 4096; addresses and lengths are multiples of it
   * @throws ArgumentError
   */
  constructor(
    usable: readonly IovaRange[],
    readonly granuleBytes: number,
  ) {
    this.granule = BigInt(checkPowerOfTwo("granuleBytes", granuleBytes, MIN_GRANULE, MAX_GRANULE));
    this.pagesPerGranule = granuleBytes / IOVA_PAGE;
    const ranges: Range[] = [];
    for (const { start: startByte, last: lastByte } of joined(usable)) {
      // Drivers and devices take address 0 for "none".
      const start = startByte === 0n ? 1 : Number((startByte + this.granule - 1n) / this.granule);
      const end = Number((lastByte + 1n) / this.granule);
      if (end <= start) continue;
      ranges.push({ start, last: end - 1 });
      this.setFree(start, end - start);
      this.file(start, end - start);
      this.freeRanges++;
      this.freeGranules += end - start;
    }
    this.usable = ranges;
  }

  /**
   * Allocates at the start of the smallest free range that fits.
   * @throws ArgumentError, IovaSpaceError if no free range fits
   */
  alloc(sizeBytes: number, placement?: IovaPlacement): Iova {
    return iovaOfPage(this.allocPages(sizeBytes, placement));
  }

  /** {@link alloc}; returns a page number (IOVA_PAGE). @throws as alloc() */
  allocPages(sizeBytes: number, placement?: IovaPlacement): number {
    const size = this.checkSize(sizeBytes);
    const at = placement === undefined ? this.takeAnywhere(size) : this.takePlaced(size, placement);
    if (at === undefined) throw this.full(sizeBytes, placement);
    return at * this.pagesPerGranule;
  }

  /**
   * Allocates up to `most` ranges of one size side by side, each to be released by itself.
   * @param into gets their page numbers, ascending
   * @returns how many there are, at least one
   * @throws as alloc()
   * @internal
   */
  allocSideBySide(sizeBytes: number, into: Float64Array, most: number): number {
    const size = this.checkSize(sizeBytes);
    const from = this.findAnywhere(size);
    if (from === undefined) throw this.full(sizeBytes, undefined);
    const length = -this.ranges.get(from);
    const count = Math.min(most, Math.floor(length / size));
    this.take(from, length, from, size * count);
    for (let i = 0; i < count; i++) {
      this.ranges.set(from + i * size, size);
      into[i] = (from + i * size) * this.pagesPerGranule;
    }
    return count;
  }

  /** Takes a fixed range. @throws ArgumentError, IovaSpaceError if part of it is taken, reserved, or not translated */
  reserve(start: bigint, sizeBytes: number): void {
    const size = this.checkSize(sizeBytes);
    const at = this.toGranule(start);
    const from = this.freeAround(at);
    const length = -this.ranges.get(from);
    if (length <= 0 || from + length < at + size) {
      const where = `iova ${hex(start)}..${hex(start + BigInt(sizeBytes) - 1n)}`;
      throw this.isUsable(at, size)
        ? new IovaSpaceError("taken", `${where} is mapped already`)
        : new IovaSpaceError("reserved", `${where} is reserved, or this IOMMU can't translate it`);
    }
    this.take(from, length, at, size);
  }

  /** Frees a whole range of {@link alloc} or {@link reserve}. @throws ArgumentError for any other range */
  release(start: bigint, sizeBytes: number): void {
    this.giveBack(this.toGranule(start), this.checkSize(sizeBytes));
  }

  /** {@link release} by page number (IOVA_PAGE). @throws as release() */
  releasePages(iovaPage: number, sizeBytes: number): void {
    checkOffset("iovaPage", iovaPage);
    this.giveBack(iovaPage / this.pagesPerGranule, this.checkSize(sizeBytes));
  }

  /**
   * Frees ranges of one size side by side, as one.
   * @throws ArgumentError as release(), if the first is no range
   * @internal
   */
  releaseSideBySide(iovaPage: number, sizeBytes: number, count: number): void {
    const size = this.checkSize(sizeBytes);
    const at = iovaPage / this.pagesPerGranule;
    if (this.ranges.get(at) !== size) throw this.notGiven(at, size);
    for (let i = 1; i < count; i++) this.ranges.delete(at + i * size);
    this.ranges.set(at, size * count);
    this.giveBack(at, size * count);
  }

  /** Whether this whole range was allocated or reserved, and not freed. @throws ArgumentError */
  holds(iovaPage: number, sizeBytes: number): boolean {
    checkOffset("iovaPage", iovaPage);
    checkLength("sizeBytes", sizeBytes);
    return this.ranges.get(iovaPage / this.pagesPerGranule) === sizeBytes / this.granuleBytes;
  }

  /** Free bytes. */
  get freeBytes(): bigint {
    return BigInt(this.freeGranules) * this.granule;
  }

  /** Statistics of the free space. Visits all ranges. */
  stats(): IovaAllocatorStats {
    let largest = 0;
    this.ranges.forEach((_, length) => {
      if (-length > largest) largest = -length;
    });
    return {
      freeBytes: this.freeBytes,
      largestFreeBytes: BigInt(largest) * this.granule,
      freeRanges: this.freeRanges,
    };
  }

  private takeAnywhere(size: number): number | undefined {
    const from = this.findAnywhere(size);
    return from === undefined ? undefined : this.takeFound(from, size, 1, 0, NO_LIMIT);
  }

  private findAnywhere(size: number): number | undefined {
    return this.search(0, size, 1, 0, NO_LIMIT, LOOKS) ?? this.findAfterAll(size, 1, 0, NO_LIMIT);
  }

  /** @throws ArgumentError */
  private takePlaced(size: number, placement: IovaPlacement): number | undefined {
    checkKeys("placement", placement, ["alignBytes", "first", "last"]);
    const { alignBytes = this.granuleBytes, first, last } = placement;
    const align = Math.max(1, checkPowerOfTwo("alignBytes", alignBytes, 1, 2 ** 52) / this.granuleBytes);
    const low =
      first === undefined ? 0 : Number((checkU64("first", first) + this.granule - 1n) / this.granule);
    const high = last === undefined ? NO_LIMIT : Number((checkU64("last", last) + 1n) / this.granule) - 1;
    if (low > 0) this.cutAt(low);
    if (high < NO_LIMIT) this.cutAt(high + 1);
    const top = this.zoneOf(high);
    for (let zone = this.zoneOf(low); zone <= top; zone++) {
      const from = this.search(zone, size, align, low, high, LOOKS);
      if (from !== undefined) return this.takeFound(from, size, align, low, high);
    }
    if (low > 0) {
      // A range that starts below the limit and reaches beyond it.
      const from = this.freeAround(low);
      const length = -this.ranges.get(from);
      if (this.fitAt(from, length, size, align, low, high) >= 0)
        return this.takeFound(from, size, align, low, high);
    }
    const from = this.findAfterAll(size, align, low, high);
    return from === undefined ? undefined : this.takeFound(from, size, align, low, high);
  }

  /** Second search: tries every free range that is large enough. */
  private findAfterAll(size: number, align: number, low: number, high: number): number | undefined {
    for (let zone = 0; zone <= this.zoneOf(high); zone++) {
      const from = this.search(zone, size, align, low, high, NO_LIMIT);
      if (from !== undefined) return from;
    }
    return undefined;
  }

  /**
   * Finds the smallest free range of a zone that can hold an allocation.
   * @param looks most ranges to compare in one bin
   * @returns start of the free range
   */
  private search(
    zone: number,
    size: number,
    align: number,
    low: number,
    high: number,
    looks: number,
  ): number | undefined {
    const bins = this.bins[zone];
    if (bins === undefined) return undefined;
    const { ranges } = this;
    for (let bin = bins.next(binOf(size)); bin >= 0; bin = bins.next(bin + 1)) {
      const stack = bins.stack(bin);
      let best: number | undefined;
      let bestLength = NO_LIMIT;
      let left = looks;
      for (let i = stack.length - 1; i >= 0 && left > 0; i--) {
        const from = stack[i] ?? 0;
        const length = -ranges.get(from);
        left--;
        if (length >= bestLength || this.fitAt(from, length, size, align, low, high) < 0) continue;
        best = from;
        bestLength = length;
        // All ranges of this bin have the same size.
        if (length === bin) break;
      }
      if (best !== undefined) return best;
    }
    return undefined;
  }

  /** Start of an allocation within a free range; negative if it doesn't fit. */
  private fitAt(
    from: number,
    length: number,
    size: number,
    align: number,
    low: number,
    high: number,
  ): number {
    const start = from < low ? low : from;
    const at = align === 1 ? start : Math.ceil(start / align) * align;
    return length > 0 && at + size <= from + length && at + size - 1 <= high ? at : -1;
  }

  private takeFound(from: number, size: number, align: number, low: number, high: number): number {
    const length = -this.ranges.get(from);
    const at = this.fitAt(from, length, size, align, low, high);
    this.take(from, length, at, size);
    return at;
  }

  private full(sizeBytes: number, placement: IovaPlacement = {}): IovaSpaceError {
    const { alignBytes = this.granuleBytes, first = 0n, last = 0xffff_ffff_ffff_ffffn } = placement;
    const aligned = alignBytes > this.granuleBytes ? ` aligned to ${alignBytes}` : "";
    const isAnywhere = placement.first === undefined && placement.last === undefined;
    const within = isAnywhere ? "" : ` within ${hex(first)}..${hex(last)}`;
    return new IovaSpaceError(
      "full",
      `no free I/O virtual addresses for ${sizeBytes} bytes${aligned}${within} ` +
        `(${this.freeBytes} bytes are free)`,
    );
  }

  /** Start of the last free range that starts at or before `at`; -1 if there is none. */
  private freeAround(at: number): number {
    if (this.ranges.get(at) < 0) return at;
    if (this.freeInOrder === undefined) {
      const set = new PageSet();
      this.ranges.forEach((start, length) => {
        if (length < 0) set.add(start);
      });
      this.freeInOrder = set;
    }
    return this.freeInOrder.floor(at);
  }

  private setFree(start: number, length: number): void {
    this.ranges.set(start, -length);
    if (length > 1) this.ranges.set(start + length - 1, LAST + length);
  }

  /** Length of the free range that ends with this granule; 0 if there is none. */
  private freeUpTo(last: number): number {
    const found = this.ranges.get(last);
    if (found > LAST) return found - LAST;
    return found === -1 ? 1 : 0;
  }

  /** Cuts [at, at + size) out of the free range [from, from + length). */
  private take(from: number, length: number, at: number, size: number): void {
    const { ranges } = this;
    const before = at - from;
    const after = length - before - size;
    // The rest of a large range often belongs to the same bin.
    const stays = before > 0 && binOf(before) === binOf(length);
    if (!stays) this.unfile(from, length);
    if (before > 0) {
      this.setFree(from, before);
      if (!stays) this.file(from, before);
    } else {
      this.freeInOrder?.delete(from);
      this.freeRanges--;
    }
    ranges.set(at, size);
    if (after > 0) {
      this.setFree(at + size, after);
      this.freeInOrder?.add(at + size);
      this.file(at + size, after);
      this.freeRanges++;
    } else if (size > 1) ranges.delete(at + size - 1);
    this.freeGranules -= size;
  }

  private giveBack(at: number, size: number): void {
    const { ranges } = this;
    if (ranges.get(at) !== size) throw this.notGiven(at, size);
    const before = this.freeUpTo(at - 1);
    const after = Math.max(0, -ranges.get(at + size));
    const from = at - before;
    const length = before + size + after;
    // setFree() overwrites the entry at the joined range's last granule.
    if (before > 0) {
      this.unfile(from, before);
      if (before > 1) ranges.delete(at - 1);
      if (size + after > 1) ranges.delete(at);
      this.freeRanges--;
    } else this.freeInOrder?.add(at);
    if (after > 0) {
      this.unfile(at + size, after);
      if (after > 1) ranges.delete(at + size);
      this.freeInOrder?.delete(at + size);
      this.freeRanges--;
    }
    this.setFree(from, length);
    this.freeRanges++;
    this.freeGranules += size;
    this.file(from, length);
  }

  private notGiven(at: number, size: number): ArgumentError {
    if (!Number.isSafeInteger(at)) return new ArgumentError(`no range starts at granule ${show(at)}`);
    const start = BigInt(at) * this.granule;
    const where = `iova ${hex(start)}..${hex(start + BigInt(size) * this.granule - 1n)}`;
    if (!this.isUsable(at, size)) return new ArgumentError(`${where} was never allocated`);
    const from = this.freeAround(at + size - 1);
    if (from >= 0 && from - this.ranges.get(from) > at) return new ArgumentError(`${where} is free already`);
    return new ArgumentError(`${where} was not allocated as one range`);
  }

  private file(start: number, length: number): void {
    const slot = this.bins[this.zoneOf(start)]?.push(binOf(length), start) ?? 0;
    this.ranges.setNote(start, slot);
  }

  private unfile(start: number, length: number): void {
    const { ranges } = this;
    const slot = ranges.note(start);
    const moved = this.bins[this.zoneOf(start)]?.remove(binOf(length), slot) ?? -1;
    if (moved >= 0) ranges.setNote(moved, slot);
  }

  private zoneOf(start: number): number {
    if (this.cuts.length === 0) return 0;
    let zone = 0;
    for (const cut of this.cuts) if (cut <= start) zone++;
    return zone;
  }

  private cutAt(start: number): void {
    if (this.cuts.length >= MAX_CUTS || this.cuts.includes(start)) return;
    this.cuts.push(start);
    this.cuts.sort((a, b) => a - b);
    this.bins = Array.from({ length: this.cuts.length + 1 }, () => new SizeBins());
    this.ranges.forEach((at, length) => {
      if (length < 0) this.file(at, -length);
    });
  }

  private isUsable(start: number, size: number): boolean {
    return this.usable.some((range) => range.start <= start && start + size - 1 <= range.last);
  }

  private toGranule(start: bigint): number {
    const iovaPage = pageOfIova(checkU64("iova", start));
    if (iovaOfPage(iovaPage) !== start || iovaPage % this.pagesPerGranule !== 0) {
      throw new ArgumentError(`iova ${hex(start)} is not a multiple of ${this.granuleBytes}`);
    }
    return iovaPage / this.pagesPerGranule;
  }

  private checkSize(sizeBytes: number): number {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % this.granuleBytes !== 0) {
      throw new ArgumentError(
        `size must be a positive multiple of ${this.granuleBytes}, got ${show(sizeBytes)}`,
      );
    }
    return sizeBytes / this.granuleBytes;
  }
}
