/** Chooses I/O virtual addresses for backends that leave the choice to this process. */
import {
  checkArray,
  checkFunction,
  checkLength,
  checkMembers,
  checkObject,
  checkOffset,
  checkU64,
} from "../core/check.js";
import { StateError, SysError } from "../core/errors.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { DmaAccess } from "./access.js";
import { IOVA_PAGE, type Iova, type IovaRange, iova, iovaOfPage, pageOfIova } from "./iova/address.js";
import { IovaAllocator, type IovaPlacement } from "./iova/allocator.js";
import { IovaSpaceError } from "./iova/error.js";
import { ParkedRanges } from "./iova/parked-ranges.js";
import { withoutRanges } from "./iova/range-sets.js";
import { hugeAlignment, IovaZones } from "./iova/zones.js";

/** Attempts at addresses that other users of the kernel object have mapped, before map() gives up. */
const MAX_FOREIGN = 1000;
/** The same where the kernel can choose instead. */
const MAX_FOREIGN_BESIDE_KERNEL = 16;

/** What a backend can map at present. */
export interface MappableAddresses {
  /** Ranges without reserved regions. */
  readonly ranges: IovaRange[];
  /** Addresses and lengths of mappings are multiples of this. */
  readonly alignmentBytes: number;
  /** Parts of the ranges that are never chosen. A program can still map there at a fixed address. */
  readonly avoid?: readonly IovaRange[];
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
 * Maps memory at a chosen address.
 * @param iovaPage the address in IOVA_PAGEs
 * @param origin virtual address or file offset of the memory
 */
export type MapAttempt = (iovaPage: number, origin: number, sizeBytes: number, access: DmaAccess) => void;

/**
 * Chooses addresses for one address space. It knows what the backend can map, and the mappings of the tracked lists. It
 * learns of mappings by other users of the kernel object when an attempt fails.
 *
 * The first choice creates the allocator from the ranges and the tracked mappings. After reset() the next choice does.
 */
export class AddressChooser {
  private readonly lists = new Set<MappingList>();
  private readonly zones = new IovaZones();
  private readonly parked = new ParkedRanges();
  private allocator: IovaAllocator | undefined = undefined;
  private known: MappableAddresses | undefined = undefined;
  /** Whether the allocator counts mappings of other users as taken, which may be gone. */
  private hasForeign = false;
  private readonly mostForeign: number;

  /**
   * @param readAddresses asks the backend what it can map; called again after {@link reset}
   * @param besideKernel whether the backend's kernel can choose an address, if this chooser finds none soon
   * @throws ArgumentError
   */
  constructor(
    private readonly readAddresses: () => MappableAddresses,
    besideKernel: boolean = false,
  ) {
    checkFunction("readAddresses", readAddresses);
    this.mostForeign = besideKernel ? MAX_FOREIGN_BESIDE_KERNEL : MAX_FOREIGN;
  }

  /** What the backend can map, cached until {@link reset}. @throws as readAddresses */
  get addresses(): MappableAddresses {
    this.known ??= checkAddresses(this.readAddresses());
    return this.known;
  }

  /** Whether every tracked list is about to close. False without any. */
  get closing(): boolean {
    for (const { closing } of this.lists) if (!closing) return false;
    return this.lists.size > 0;
  }

  /** Adds a list of mappings; a new allocator counts their addresses as taken. @returns a function that removes the list */
  track(list: MappingList): () => void {
    checkMembers("list", list, "a MappingList", { records: "function" });
    // The result must not refer to this object: the lease of a space keeps it.
    const { lists } = this;
    lists.add(list);
    return () => lists.delete(list);
  }

  /** Forgets the free and the mappable ranges. Call it after a device was attached or detached. */
  reset(): void {
    this.known = undefined;
    this.allocator = undefined;
    this.hasForeign = false;
    this.parked.clear();
  }

  /**
   * Chooses an address and maps there. If another user has mapped there (EEXIST), it chooses the next one. If its knowledge
   * may be stale, it calls {@link reset} and tries again once.
   * @param attempt maps; or throws the kernel's SysError, with nothing mapped
   * @param origin virtual address or file offset of the memory; its alignment allows huge pages of the IOMMU
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
        const most = placement === undefined ? this.mostForeign : MAX_FOREIGN;
        if (code === "EEXIST" && fixed === undefined && ++foreign < most) {
          this.hasForeign = true;
          continue;
        }
        this.release(iovaPage, sizeBytes);
        if (code === "EEXIST") throw takenError(iovaOfPage(iovaPage), sizeBytes, error);
        // Another user may have attached a device, which reduces the mappable ranges.
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
    checkOffset("origin", origin);
    checkLength("sizeBytes", sizeBytes);
    const alignBytes = hugeAlignment(origin, sizeBytes);
    const isPlaced = fixed !== undefined || alignBytes > 0 || this.zones.matter(placement);
    if (!isPlaced) {
      const iovaPage = this.parked.take(sizeBytes);
      if (iovaPage >= 0) return iovaPage;
    }
    this.allocator ??= this.findFree();
    if (!isPlaced) return this.parked.refill(sizeBytes, this.fetch, this.giveBack);
    this.parked.drain(this.giveBack);
    if (fixed !== undefined) {
      if (!this.isAvoided(iova(fixed), sizeBytes)) this.allocator.reserve(fixed, sizeBytes);
      return pageOfIova(fixed);
    }
    return pageOfIova(this.zones.alloc(this.allocator, sizeBytes, placement, alignBytes));
  }

  /** Frees a result of {@link map} or {@link take}. Does nothing if the allocator doesn't have it. */
  release(iovaPage: number, sizeBytes: number): void {
    if (this.allocator?.holds(iovaPage, sizeBytes) === true)
      this.parked.park(iovaPage, sizeBytes, this.giveBack);
  }

  /** {@link release} of a range that the kernel doesn't know: it may never have been given out. */
  releaseUnknown(iovaPage: number, sizeBytes: number): void {
    if (!this.parked.has(iovaPage, sizeBytes)) this.release(iovaPage, sizeBytes);
  }

  /**
   * For a caller who unmaps by hand. The cost grows with the number of buffers.
   * @throws ArgumentError, StateError if a DMA buffer lies in the range
   * @internal
   */
  assertNoBuffer(at: bigint, sizeBytes: number): void {
    const from = pageOfIova(checkU64("iova", at));
    const end = from + checkLength("sizeBytes", sizeBytes) / IOVA_PAGE;
    for (const list of this.lists) {
      for (const { iovaPage: first, mappedBytes } of list.records()) {
        if (first < end && first + mappedBytes / IOVA_PAGE > from)
          throw new StateError(
            `a DMA buffer is mapped at iova 0x${iovaOfPage(first).toString(16)}, and only its close() may unmap it`,
          );
      }
    }
  }

  private readonly giveBack = (iovaPage: number, sizeBytes: number, count: number): void => {
    this.allocator?.releaseSideBySide(iovaPage, sizeBytes, count);
  };

  private readonly fetch = (sizeBytes: number, into: Float64Array, most: number): number =>
    this.allocator?.allocSideBySide(sizeBytes, into, most) ?? 0;

  private isAvoided(start: bigint, sizeBytes: number): boolean {
    const last = start + BigInt(sizeBytes) - 1n;
    return (this.addresses.avoid ?? []).some((range) => range.start <= last && range.last >= start);
  }

  /** Whether stale knowledge can cause an error: of other users' mappings, or of the mappable ranges. */
  private mayBeStale(error: unknown): boolean {
    return error instanceof IovaSpaceError && (error.reason === "full" || this.hasForeign);
  }

  private findFree(): IovaAllocator {
    const { ranges, alignmentBytes, avoid = [] } = this.addresses;
    const allocator = new IovaAllocator(withoutRanges(ranges, avoid), Math.max(alignmentBytes, PAGE_SIZE));
    for (const list of this.lists) {
      for (const { iovaPage, mappedBytes } of list.records()) {
        reserve(allocator, iovaPage, mappedBytes);
      }
    }
    return allocator;
  }
}

function checkAddresses(read: MappableAddresses): MappableAddresses {
  checkObject("the result of readAddresses", read);
  checkArray("ranges", read.ranges);
  checkLength("alignmentBytes", read.alignmentBytes);
  return read;
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
    // A mapping at address 0, which the allocator never uses, or at an address that is avoided.
    if (!(error instanceof IovaSpaceError) || error.reason !== "reserved") throw error;
  }
}
