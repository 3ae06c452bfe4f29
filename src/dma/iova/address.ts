/** I/O virtual addresses as bigints, as two halves and as counts of pages. */
import { checkU64 } from "../../core/check.js";

declare const brand: unique symbol;

/** An I/O virtual address: what a device puts on the bus and the IOMMU translates. */
export type Iova = bigint & {
  /** Exists only for the type checker: other bigints aren't addresses. */
  readonly [brand]: "Iova";
};

/** Marks a number as an I/O virtual address. @throws ArgumentError outside 0 .. 2^64-1 */
export function iova(value: bigint): Iova {
  return checkU64("iova", value) as Iova;
}

/** A range of I/O virtual addresses, both ends inside it, as iommufd and VFIO report them. */
export interface IovaRange {
  /** First address of the range. */
  readonly start: Iova;
  /** Last address of the range; it belongs to the range. */
  readonly last: Iova;
}

/**
 * Mappings begin at multiples of this on every backend. Counted in these, 64 bits of address are exact as a plain number,
 * which costs a fraction of what a bigint does.
 */
export const IOVA_PAGE = 4096;

/** Pages of {@link IOVA_PAGE} in 4 GiB: where the high word of an address begins. */
const PAGES_PER_HIGH = 2 ** 20;

/** Splits an address and puts it together without more bigints than the one. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);

/** An address of 64 bits, in {@link IOVA_PAGE}s, rounded down. */
export function pageOfIova(at: bigint): number {
  whole[0] = at;
  return pageOfHalves(halves[0] ?? 0, halves[1] ?? 0);
}

/** Undoes {@link pageOfIova}. */
export function iovaOfPage(iovaPage: number): Iova {
  halves[0] = lowOfPage(iovaPage);
  halves[1] = highOfPage(iovaPage);
  return (whole[0] ?? 0n) as Iova;
}

/** Low 32 bits of a page's address. */
export function lowOfPage(iovaPage: number): number {
  // Both ways give the same; the first takes no floating point.
  return iovaPage < PAGES_PER_HIGH ? (iovaPage << 12) >>> 0 : (iovaPage % PAGES_PER_HIGH) * IOVA_PAGE;
}

/** High 32 bits of a page's address. */
export function highOfPage(iovaPage: number): number {
  return iovaPage < PAGES_PER_HIGH ? 0 : Math.floor(iovaPage / PAGES_PER_HIGH);
}

/** The page of an address that is given as two halves. */
export function pageOfHalves(low: number, high: number): number {
  return high === 0 ? low >>> 12 : high * PAGES_PER_HIGH + (low >>> 12);
}
