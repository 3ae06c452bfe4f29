/**
 * Hands out I/O virtual addresses where the kernel doesn't (VFIO type1) or where it can't place as asked (iommufd): best
 * fit within the ranges the IOMMU can translate, nothing twice, and fixed addresses reserved like any other.
 *
 * Inside, addresses are counted in granules: a 64-bit address space has 2^52 pages, so plain numbers are exact.
 */
import { checkPowerOfTwo, checkU64 } from "../sys/check.js";
import { ArgumentError } from "../sys/errors.js";
import { type Iova, type IovaRange, iova } from "./iova.js";
import { IovaSpaceError } from "./iova-space-error.js";
import { PairTree } from "./pair-tree.js";

/** Smallest granule whose numbers are exact. */
const MIN_GRANULE = 4096;
const MAX_GRANULE = 2 ** 30;
/** Beyond this many free ranges of about the right size the closest one isn't worth the search. */
const CLOSEST = 16;

/** Where an allocation may lie. */
export interface IovaPlacement {
  /** Power of two; at least the granule is used. */
  readonly alignBytes?: number | undefined;
  /** Lowest address. */
  readonly first?: bigint | undefined;
  /** Highest address of its last byte: 2^n - 1 for a device with n address bits. */
  readonly last?: bigint | undefined;
}

/** What is left in an {@link IovaAllocator}. */
export interface IovaAllocatorStats {
  readonly freeBytes: bigint;
  /** The most that one allocation can get. */
  readonly largestFreeBytes: bigint;
  readonly freeRanges: number;
}

/** In granules, both ends inside. */
interface Range {
  start: number;
  last: number;
}

/** The same addresses in as few ranges as hold them, lowest first. @throws ArgumentError: a range that ends early */
function joined(ranges: readonly IovaRange[]): { start: bigint; last: bigint }[] {
  const result: { start: bigint; last: bigint }[] = [];
  for (const { start, last } of [...ranges].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    if (checkU64("last", last) < checkU64("start", start)) {
      throw new ArgumentError(`a range can't end at ${hex(last)} and start at ${hex(start)}`);
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

export class IovaAllocator {
  /** Free ranges by address: (start, length). Disjoint and never adjacent: neighbours are merged. */
  private readonly byAddress = new PairTree<undefined>();
  /** The same by size: (length, start). */
  private readonly bySize = new PairTree<undefined>();
  /** What there was before anything was handed out. */
  private readonly usable: readonly Readonly<Range>[];
  private readonly granule: bigint;
  private freeGranules = 0;

  /**
   * @param usable what the IOMMU translates, holes (reserved regions) already cut out
   * @param granuleBytes smallest unit of a mapping, a power of two from 4096: addresses and lengths are multiples of it
   * @throws ArgumentError
   */
  constructor(
    usable: readonly IovaRange[],
    readonly granuleBytes: number,
  ) {
    this.granule = BigInt(checkPowerOfTwo("granuleBytes", granuleBytes, MIN_GRANULE, MAX_GRANULE));
    const ranges: Range[] = [];
    for (const { start: startByte, last: lastByte } of joined(usable)) {
      // Address 0 is never given out: to drivers and devices alike it reads as "none".
      const start = startByte === 0n ? 1 : Number((startByte + this.granule - 1n) / this.granule);
      const end = Number((lastByte + 1n) / this.granule);
      if (end <= start) continue;
      ranges.push({ start, last: end - 1 });
      this.insert(start, end - start);
      this.freeGranules += end - start;
    }
    this.usable = ranges;
  }

  /**
   * The smallest free range that holds it, from its start on.
   * @throws ArgumentError, IovaSpaceError where nothing fits
   */
  alloc(sizeBytes: number, placement: IovaPlacement = {}): Iova {
    const size = this.checkSize(sizeBytes);
    const { alignBytes = this.granuleBytes, first = 0n, last = 0xffff_ffff_ffff_ffffn } = placement;
    const align = Math.max(1, checkPowerOfTwo("alignBytes", alignBytes, 1, 2 ** 52) / this.granuleBytes);
    const low = Number((checkU64("first", first) + this.granule - 1n) / this.granule);
    const high = Number((checkU64("last", last) + 1n) / this.granule) - 1;
    const start = this.find(size, align, low, high);
    if (start === undefined) {
      const aligned = align > 1 ? ` aligned to ${alignBytes}` : "";
      const within =
        placement.first === undefined && placement.last === undefined
          ? ""
          : ` within ${hex(first)}..${hex(last)}`;
      throw new IovaSpaceError(
        "full",
        `no free I/O virtual addresses for ${sizeBytes} bytes${aligned}${within} ` +
          `(${this.freeBytes} bytes are free)`,
      );
    }
    this.take(start, size);
    return iova(BigInt(start) * this.granule);
  }

  /** Takes a fixed range. @throws IovaSpaceError where any of it is taken, reserved or beyond the IOMMU's reach */
  reserve(start: bigint, sizeBytes: number): void {
    const size = this.checkSize(sizeBytes);
    const at = this.toGranule(start);
    const range = this.byAddress.floor(at, Number.POSITIVE_INFINITY);
    if (range === undefined || range.a + range.b < at + size) {
      const where = `iova ${hex(start)}..${hex(start + BigInt(sizeBytes) - 1n)}`;
      throw this.isUsable(at, size)
        ? new IovaSpaceError("taken", `${where} is mapped already`)
        : new IovaSpaceError("reserved", `${where} is reserved or beyond what this IOMMU translates`);
    }
    this.take(at, size);
  }

  /** Gives a range back. @throws ArgumentError where any of it isn't handed out */
  release(start: bigint, sizeBytes: number): void {
    const size = this.checkSize(sizeBytes);
    const at = this.toGranule(start);
    const where = (): string => `iova ${hex(start)}..${hex(start + BigInt(sizeBytes) - 1n)}`;
    if (!this.isUsable(at, size)) throw new ArgumentError(`${where()} was never handed out`);
    const before = this.byAddress.floor(at, Number.POSITIVE_INFINITY);
    const after = this.byAddress.ceil(at, 0);
    if ((before !== undefined && before.a + before.b > at) || (after !== undefined && after.a < at + size)) {
      throw new ArgumentError(`${where()} is free already`);
    }
    let from = at;
    let length = size;
    if (before !== undefined && before.a + before.b === at) {
      from = before.a;
      length += before.b;
      this.remove(before.a, before.b);
    }
    if (after !== undefined && after.a === at + size) {
      length += after.b;
      this.remove(after.a, after.b);
    }
    this.insert(from, length);
    this.freeGranules += size;
  }

  /** Whether all of a range can be handed out at all: neither reserved nor beyond the IOMMU's reach. */
  covers(start: bigint, sizeBytes: number): boolean {
    return this.isUsable(this.toGranule(start), this.checkSize(sizeBytes));
  }

  /** Bytes not handed out. */
  get freeBytes(): bigint {
    return BigInt(this.freeGranules) * this.granule;
  }

  stats(): IovaAllocatorStats {
    return {
      freeBytes: this.freeBytes,
      largestFreeBytes: BigInt(this.byAddress.maxB) * this.granule,
      freeRanges: this.byAddress.size,
    };
  }

  /** Steps that a search takes at most: grows with the logarithm of the number of free ranges. Looks at all of them. */
  get searchSteps(): number {
    return Math.max(this.byAddress.height, this.bySize.height);
  }

  private find(size: number, align: number, low: number, high: number): number | undefined {
    const place = (start: number, length: number): number | undefined => {
      const at = Math.ceil(Math.max(start, low) / align) * align;
      return at + size <= Math.min(start + length, high + 1) ? at : undefined;
    };
    let closest = this.bySize.ceil(size, 0);
    for (let i = 0; i < CLOSEST && closest !== undefined; i++) {
      const at = place(closest.b, closest.a);
      if (at !== undefined) return at;
      closest = this.bySize.ceil(closest.a, closest.b + 1);
    }
    // What is this large fits wherever it starts; only the edges of [low, high] may still be in the way.
    const byAddress = (minimum: number): number | undefined =>
      this.byAddress.search(minimum, low, high, ({ a, b }) => place(a, b));
    return byAddress(size + align - 1) ?? byAddress(size);
  }

  private isUsable(start: number, size: number): boolean {
    return this.usable.some((range) => range.start <= start && start + size - 1 <= range.last);
  }

  private toGranule(start: bigint): number {
    if (checkU64("iova", start) % this.granule !== 0n) {
      throw new ArgumentError(`iova ${hex(start)} is not a multiple of ${this.granuleBytes}`);
    }
    return Number(start / this.granule);
  }

  private checkSize(sizeBytes: number): number {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % this.granuleBytes !== 0) {
      throw new ArgumentError(`size must be a positive multiple of ${this.granuleBytes}, got ${sizeBytes}`);
    }
    return sizeBytes / this.granuleBytes;
  }

  /** Cuts what is known to be free. */
  private take(start: number, size: number): void {
    const range = this.byAddress.floor(start, Number.POSITIVE_INFINITY);
    if (range === undefined) return;
    this.remove(range.a, range.b);
    if (range.a < start) this.insert(range.a, start - range.a);
    const rest = range.a + range.b - (start + size);
    if (rest > 0) this.insert(start + size, rest);
    this.freeGranules -= size;
  }

  private insert(start: number, length: number): void {
    this.byAddress.insert(start, length, undefined);
    this.bySize.insert(length, start, undefined);
  }

  private remove(start: number, length: number): void {
    this.byAddress.delete(start, length);
    this.bySize.delete(length, start);
  }
}
