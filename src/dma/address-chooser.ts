/** Chooses I/O virtual addresses for backends whose kernel or server leaves the choice to this process. */
import { SysError } from "../core/errors.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { DmaAccess } from "./access.js";
import { type Iova, type IovaRange, iovaOfPage, pageOfIova } from "./iova/address.js";
import { IovaAllocator, type IovaPlacement } from "./iova/allocator.js";
import { IovaSpaceError } from "./iova/error.js";
import { ParkedRanges } from "./iova/parked-ranges.js";
import { hugeAlignment, IovaZones } from "./iova/zones.js";

/** Places that other users of the address space may have taken before map() gives up. They share it only by intent. */
const MAX_FOREIGN = 1000;

/** What a backend can map at present. */
export interface MappableAddresses {
  /** Without reserved regions. */
  readonly ranges: IovaRange[];
  /** Addresses and lengths of mappings are multiples of this. */
  readonly alignmentBytes: number;
}

/** The mappings of one address space. */
export interface MappingList {
  /** All mappings, in no order. */
  records(): Iterable<{
    /** Where the mapping starts, in pages of 4 KiB. */
    readonly iovaPage: number;
    /** Its length in bytes, whole pages. */
    readonly mappedBytes: number;
  }>;
  /** Whether the address space is about to close, with all of them. */
  readonly closing: boolean;
}

/**
 * Maps memory at an address that was chosen.
 * @param iovaPage the address in IOVA_PAGEs
 * @param origin a virtual address, or a place in a file
 */
export type MapAttempt = (iovaPage: number, origin: number, sizeBytes: number, access: DmaAccess) => void;

/**
 * Chooses addresses for one address space. Three things decide: what the backend can map, what is mapped through the
 * tracked lists, and what other users of the same kernel object turn out to have mapped.
 *
 * The allocator is made at the first choice, from the ranges and the tracked mappings, and again after reset().
 */
export class AddressChooser {
  private readonly lists = new Set<MappingList>();
  private readonly zones = new IovaZones();
  private readonly parked = new ParkedRanges();
  private allocator: IovaAllocator | undefined = undefined;
  private known: MappableAddresses | undefined = undefined;
  /** Whether the allocator counts addresses as taken that other users had, and may have given back. */
  private hasForeign = false;

  /** @param readAddresses asks the backend what it can map; called again after {@link reset} */
  constructor(private readonly readAddresses: () => MappableAddresses) {}

  /** What the backend can map, as it was last read. @throws what readAddresses throws */
  get addresses(): MappableAddresses {
    this.known ??= this.readAddresses();
    return this.known;
  }

  /** Whether every tracked list is about to close. False without any. */
  get closing(): boolean {
    for (const { closing } of this.lists) if (!closing) return false;
    return this.lists.size > 0;
  }

  /** Adds a list of mappings, whose addresses a new allocator counts as taken. @returns removes the list */
  track(list: MappingList): () => void {
    // Not this object: the release function of a space's lease holds the result.
    const { lists } = this;
    lists.add(list);
    return () => lists.delete(list);
  }

  /** Forgets the free and the mappable ranges, after a device was attached or detached. */
  reset(): void {
    this.known = undefined;
    this.allocator = undefined;
    this.hasForeign = false;
    this.parked.clear();
  }

  /**
   * Whether a mapping has to use a chosen address, for a backend whose kernel can choose as well. It has to if it must lie
   * in a certain place, and as long as any earlier one had to.
   */
  isNeeded(fixed: bigint | undefined, placement: IovaPlacement | undefined): boolean {
    if (this.allocator !== undefined) return true;
    return this.zones.matter(fixed === undefined ? placement : undefined);
  }

  /**
   * Chooses an address and maps there; chooses another one if somebody else has mapped something there (EEXIST), and starts
   * over once if the backend turns out to translate less or have more free than was known.
   * @param attempt maps, or throws the kernel's SysError with nothing mapped
   * @param origin where the memory starts: its alignment decides whether the IOMMU can use huge pages
   * @returns the address in IOVA_PAGEs
   * @throws ArgumentError, IovaSpaceError, and what `attempt` throws; with nothing mapped
   */
  map(
    attempt: MapAttempt,
    origin: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement: IovaPlacement | undefined,
  ): number {
    let isFresh = this.allocator === undefined;
    for (let foreign = 0; ; ) {
      let iovaPage: number;
      try {
        iovaPage = this.take(origin, sizeBytes, fixed, placement);
      } catch (error) {
        if (isFresh || !this.mayBeStale(error)) throw error;
        this.reset();
        isFresh = true;
        continue;
      }
      try {
        attempt(iovaPage, origin, sizeBytes, access);
        return iovaPage;
      } catch (error) {
        const code = error instanceof SysError ? error.code : undefined;
        // Another user of the kernel object has mapped there. The address stays taken in the allocator.
        if (code === "EEXIST" && fixed === undefined && ++foreign < MAX_FOREIGN) {
          this.hasForeign = true;
          continue;
        }
        this.giveBack(iovaPage, sizeBytes);
        if (code === "EEXIST") throw takenError(iovaOfPage(iovaPage), sizeBytes, error);
        // Another user may have attached a device, which leaves less that can be mapped.
        if (code !== "EINVAL" || isFresh) throw error;
        this.reset();
        isFresh = true;
      }
    }
  }

  /**
   * Chooses an address. The caller maps there, and calls {@link release} if that fails.
   * @param origin as for {@link map}
   * @returns the address in IOVA_PAGEs
   * @throws ArgumentError, IovaSpaceError
   */
  take(
    origin: number,
    sizeBytes: number,
    fixed: bigint | undefined,
    placement: IovaPlacement | undefined,
  ): number {
    const alignBytes = hugeAlignment(origin, sizeBytes);
    const isPlaced = fixed !== undefined || alignBytes > 0 || this.zones.matter(placement);
    if (!isPlaced) {
      const iovaPage = this.parked.take(sizeBytes);
      if (iovaPage >= 0) return iovaPage;
    }
    this.allocator ??= this.findFree();
    this.parked.drain(this.giveBack);
    if (fixed !== undefined) {
      this.allocator.reserve(fixed, sizeBytes);
      return pageOfIova(fixed);
    }
    return isPlaced
      ? pageOfIova(this.zones.alloc(this.allocator, sizeBytes, placement, alignBytes))
      : this.allocator.allocPages(sizeBytes);
  }

  /** Gives back what {@link map} or {@link take} returned. Also for what was mapped before there was an allocator. */
  release(iovaPage: number, sizeBytes: number): void {
    if (this.allocator !== undefined) this.parked.park(iovaPage, sizeBytes, this.giveBack);
  }

  private readonly giveBack = (iovaPage: number, sizeBytes: number): void => {
    this.allocator?.releasePages(iovaPage, sizeBytes);
  };

  /** Whether a refusal can be due to what other users had mapped before, or to what the backend couldn't map before. */
  private mayBeStale(error: unknown): boolean {
    return error instanceof IovaSpaceError && (error.reason === "full" || this.hasForeign);
  }

  private findFree(): IovaAllocator {
    const { ranges, alignmentBytes } = this.addresses;
    const allocator = new IovaAllocator(ranges, Math.max(alignmentBytes, PAGE_SIZE));
    for (const list of this.lists) {
      for (const { iovaPage, mappedBytes } of list.records()) reserve(allocator, iovaPage, mappedBytes);
    }
    return allocator;
  }
}

/** The error for a fixed address that is mapped already; the same on every backend. */
export function takenError(at: Iova, sizeBytes: number, cause: unknown): IovaSpaceError {
  const last = at + BigInt(sizeBytes) - 1n;
  const where = `iova 0x${at.toString(16)}..0x${last.toString(16)}`;
  return new IovaSpaceError("taken", `${where} is mapped already`, { cause });
}

function reserve(allocator: IovaAllocator, iovaPage: number, sizeBytes: number): void {
  try {
    allocator.reserve(iovaOfPage(iovaPage), sizeBytes);
  } catch (error) {
    // The kernel maps at address 0, too, which no allocator hands out.
    if (!(error instanceof IovaSpaceError) || error.reason !== "reserved") throw error;
  }
}
