import { checkU64 } from "../sys/check.js";

declare const brand: unique symbol;

/** An I/O virtual address: what a device puts on the bus and the IOMMU translates. */
export type Iova = bigint & { readonly [brand]: "Iova" };

/** Marks a number as an I/O virtual address. @throws ArgumentError outside 0 .. 2^64-1 */
export function iova(value: bigint): Iova {
  return checkU64("iova", value) as Iova;
}

/** A range of I/O virtual addresses, both ends inside it, as iommufd and VFIO report them. */
export interface IovaRange {
  readonly start: Iova;
  readonly last: Iova;
}
