/** Allocates memory for a device, with the chosen kind of pages. */
import { checkLength, show } from "../core/check.js";
import { ArgumentError, SysError } from "../core/errors.js";
import { HUGE_PAGE_SIZES, transparentHugePageBytes } from "../sys/huge-pages.js";
import { MappedMemory } from "../sys/memory.js";
import { PAGE_SIZE } from "../sys/syscalls.js";

/**
 * Kind of pages: `base` (the CPU's smallest), `transparent` (huge if the kernel has free ones), a size in bytes (explicit
 * huge pages of that size, or an error), or `best`: explicit huge pages of the largest size that is free and wastes little,
 * else transparent ones, else base pages. `buffer.backing` reports the result.
 */
export type PageChoice = "base" | "transparent" | "best" | number;

/** Kind of pages, and their NUMA node. */
export interface BackingOptions {
  /** `base` by default. */
  readonly pages?: PageChoice | undefined;
  /** Allocates a memfd, which other processes can map: see `buffer.memory.fd`. */
  readonly shared?: boolean | undefined;
  /** Alignment of the virtual address in bytes, a power of two. */
  readonly alignBytes?: number | undefined;
  /** Uses only memory of this NUMA node (`PciFunction.numaNode` is the device's). */
  readonly numaNode?: number | undefined;
  /** Faults in all pages at once. Mapping does that anyway. */
  readonly populate?: boolean | undefined;
  /** Locks the pages (mlock), so that they can't be swapped out even while no device is attached. */
  readonly lock?: boolean | undefined;
}

/** The names of {@link BackingOptions}. */
export const backingOptions: readonly (keyof BackingOptions)[] = [
  "pages",
  "shared",
  "alignBytes",
  "numaNode",
  "populate",
  "lock",
];

/** `best` wastes at most this part of the requested size. */
const MAX_WASTE = 1 / 8;

/** @throws ArgumentError, SysError (ENOMEM: too few huge pages of the given size) */
export function allocateMemory(sizeBytes: number, options: BackingOptions): MappedMemory {
  checkLength("sizeBytes", sizeBytes);
  const { pages = "base", shared = false, alignBytes, numaNode, populate, lock } = options;
  // No `...rest`: the options of a DmaSpace have more.
  const given = { alignBytes, numaNode, populate, lock };
  const make = (hugePageBytes?: number, transparent = false): MappedMemory =>
    shared
      ? MappedMemory.memfd(sizeBytes, { ...given, hugePageBytes })
      : MappedMemory.anonymous(sizeBytes, { ...given, hugePageBytes, transparentHugePages: transparent });
  if (typeof pages === "number") return make(pages);
  switch (pages) {
    case "base":
      return make();
    case "transparent":
      if (shared)
        throw new ArgumentError(
          'shared memory can\'t have transparent huge pages: use "base", "best" or a size in bytes',
        );
      return make(undefined, true);
    case "best":
      return bestOf(sizeBytes, make, shared);
    default:
      throw new ArgumentError(
        `pages must be "base", "transparent", "best" or a size in bytes, got ${show(pages)}`,
      );
  }
}

function bestOf(
  sizeBytes: number,
  make: (hugePageBytes?: number, transparent?: boolean) => MappedMemory,
  shared: boolean,
): MappedMemory {
  for (const pageBytes of HUGE_PAGE_SIZES.toReversed()) {
    const waste = Math.ceil(sizeBytes / pageBytes) * pageBytes - sizeBytes;
    if (waste > sizeBytes * MAX_WASTE || pageBytes <= PAGE_SIZE) continue;
    try {
      return make(pageBytes);
    } catch (error) {
      // Too few huge pages of this size on the node: try the next smaller kind.
      if (!(error instanceof SysError)) throw error;
    }
  }
  const huge = transparentHugePageBytes();
  return make(undefined, !shared && huge !== undefined && sizeBytes >= huge);
}
