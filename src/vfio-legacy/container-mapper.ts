import { type Iova, type IovaRange, iova } from "../dma/iova.js";
import { IovaAllocator, type IovaPlacement } from "../dma/iova-allocator.js";
import { IovaSpaceError } from "../dma/iova-space-error.js";
import { IovaZones } from "../dma/iova-zones.js";
import { LiveRanges } from "../dma/live-ranges.js";
import type { DmaAccess, DmaMapper } from "../dma/mapper.js";
import type { MemlockAccount } from "../dma/memlock.js";
import { SysError } from "../sys/errors.js";
import type { Lease } from "../sys/resource.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { VfioContainer } from "./container.js";
import { GroupTable } from "./group-table.js";

/** Places that others turned out to have taken, before it is an error. Others share a container only by intent. */
const MAX_FOREIGN = 1000;

/** A type1 container as the translator behind a DmaSpace. The kernel leaves the choice of addresses to us. */
export class ContainerMapper implements DmaMapper {
  readonly lease: Lease;
  /** The container's groups, for devices that come to it later. */
  readonly groups: GroupTable;
  /** What was mapped through here: start and length. */
  private readonly live = new LiveRanges();
  /** What was given back last is still taken in the allocator: the next mapping of that size gets it. */
  private parked: Iova | undefined = undefined;
  private parkedBytes = 0;
  private readonly zones = new IovaZones();
  private ranges: IovaRange[] = [];
  private allocator: IovaAllocator;

  /**
   * @param container with its IOMMU set
   * @param name as users name the backend: another one where an iommufd answers the container's requests
   * @throws SysError
   */
  constructor(
    readonly container: VfioContainer,
    readonly name: "type1" | "iommufd-compat" = "type1",
  ) {
    this.lease = container.assertReady();
    this.groups = new GroupTable(container);
    this.allocator = this.findFree();
  }

  iovaRanges(): IovaRange[] {
    return this.ranges;
  }

  alignmentBytes(): number {
    return this.allocator.granuleBytes;
  }

  memlockAccount(): MemlockAccount {
    return this.name === "type1" ? "process" : "user";
  }

  /** What may be mapped has changed: what there is to hand out is found anew. */
  devicesChanged(): void {
    this.parked = undefined;
    this.allocator = this.findFree();
  }

  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    for (let foreign = 0; ; ) {
      const at = this.take(sizeBytes, fixed, placement);
      try {
        this.container.map({ address, sizeBytes }, at, access);
      } catch (error) {
        const isTaken = error instanceof SysError && error.code === "EEXIST";
        // Somebody mapped there through the container itself: stays taken here, and another place is tried.
        if (isTaken && fixed === undefined && ++foreign < MAX_FOREIGN) continue;
        this.allocator.release(at, sizeBytes);
        throw isTaken
          ? new IovaSpaceError("taken", `iova 0x${at.toString(16)} is mapped already`, { cause: error })
          : error;
      }
      this.live.set(at, sizeBytes);
      return at;
    }
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.container.unmap(at, sizeBytes);
    this.live.delete(at);
    this.unpark();
    this.parked = at as Iova;
    this.parkedBytes = sizeBytes;
  }

  /** Gives the allocator back what is parked: it may merge it, or hand out parts of it. */
  private unpark(): void {
    if (this.parked === undefined) return;
    const at = this.parked;
    this.parked = undefined;
    this.allocator.release(at, this.parkedBytes);
  }

  private take(sizeBytes: number, fixed: bigint | undefined, placement: IovaPlacement | undefined): Iova {
    const { parked } = this;
    if (
      parked !== undefined &&
      this.parkedBytes === sizeBytes &&
      fixed === undefined &&
      !this.zones.matter(placement)
    ) {
      this.parked = undefined;
      return parked;
    }
    this.unpark();
    if (fixed !== undefined) {
      this.allocator.reserve(fixed, sizeBytes);
      return iova(fixed);
    }
    return this.zones.matter(placement)
      ? this.zones.alloc(this.allocator, sizeBytes, placement)
      : this.allocator.alloc(sizeBytes);
  }

  private findFree(): IovaAllocator {
    const info = this.container.info();
    this.ranges = info.iovaRanges;
    const smallestPage = Number(info.pageSizes & -info.pageSizes);
    const allocator = new IovaAllocator(this.ranges, Math.max(smallestPage, PAGE_SIZE));
    for (const [at, sizeBytes] of this.live.entries()) allocator.reserve(at, sizeBytes);
    return allocator;
  }
}
