/** I/O virtual addresses as bigints, as two halves, and as page numbers. */
import { checkU64 } from "../../core/check.js";

declare const brand: unique symbol;

/** An I/O virtual address: a device puts it on the bus, and the IOMMU translates it. */
export type Iova = bigint & {
  /** Exists only for the type checker: other bigints aren't addresses. */
  readonly [brand]: "Iova";
};

/** Marks a number as an I/O virtual address. @throws ArgumentError outside 0 .. 2^64-1 */
export function iova(value: bigint): Iova {
  return checkU64("iova", value) as Iova;
}

/** A range of I/O virtual addresses, both ends included, as iommufd and VFIO report it. */
export interface IovaRange {
  /** First address of the range. */
  readonly start: Iova;
  /** Last address of the range. */
  readonly last: Iova;
}

/**
 * Bytes of a page. Mappings start at multiples of it on every backend. The page number of a 64-bit address is exact as a
 * plain number, which is much cheaper than a bigint.
 */
export const IOVA_PAGE = 4096;

/** Number of pages in 4 GiB, which the low word of an address covers. */
const PAGES_PER_HIGH = 2 ** 20;

/** Two views of one word: they split and join an address without further bigints. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);

/** Page number of a 64-bit address: counts {@link IOVA_PAGE}s, rounds down. */
export function pageOfIova(at: bigint): number {
  whole[0] = at;
  return pageOfHalves(halves[0] ?? 0, halves[1] ?? 0);
}

/** Address of a page: the inverse of {@link pageOfIova}. */
export function iovaOfPage(iovaPage: number): Iova {
  halves[0] = lowOfPage(iovaPage);
  halves[1] = highOfPage(iovaPage);
  return (whole[0] ?? 0n) as Iova;
}

/**
 * The same number, as V8's small integer where it is one. What comes from a Float64Array is a boxed double, at least before
 * the code is optimised. A single box in a field makes V8 allocate one for each object from then on.
 */
export function unboxed(iovaPage: number): number {
  const small = iovaPage | 0;
  return small === iovaPage ? small : iovaPage;
}

/** Low 32 bits of a page's address. */
export function lowOfPage(iovaPage: number): number {
  // Both expressions give the same result; the first uses no floating point.
  return iovaPage < PAGES_PER_HIGH ? (iovaPage << 12) >>> 0 : (iovaPage % PAGES_PER_HIGH) * IOVA_PAGE;
}

/** High 32 bits of a page's address. */
export function highOfPage(iovaPage: number): number {
  return iovaPage < PAGES_PER_HIGH ? 0 : Math.floor(iovaPage / PAGES_PER_HIGH);
}

/** Page number of an address given as two halves. */
export function pageOfHalves(low: number, high: number): number {
  return high === 0 ? low >>> 12 : high * PAGES_PER_HIGH + (low >>> 12);
}
