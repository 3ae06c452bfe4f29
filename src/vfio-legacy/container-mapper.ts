import { SysError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import { type Iova, type IovaRange, iovaOfPage, iovaPage } from "../dma/iova/address.js";
import { IovaAllocator, type IovaPlacement } from "../dma/iova/allocator.js";
import { IovaSpaceError } from "../dma/iova/error.js";
import { hugeAlignment, IovaZones } from "../dma/iova/zones.js";
import type { LiveMappings } from "../dma/mapped-index.js";
import type { DmaAccess } from "../dma/mapper.js";
import type { MemlockAccount } from "../dma/memlock.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import type { VfioContainer } from "./container.js";
import { GroupTable } from "./group-table.js";
import { ParkedRanges } from "./parked-ranges.js";

/** Places that others turned out to have taken, before it is an error. Others share a container only by intent. */
const MAX_FOREIGN = 1000;

/** A type1 container as the translator behind a DmaSpace. The kernel leaves the choice of addresses to us. */
export class ContainerMapper implements JoinableMapper {
  readonly lease: Lease;
  /** The container's groups, for devices that come to it later. */
  readonly groups: GroupTable;
  /** What was mapped through here. */
  private readonly live = new Set<LiveMappings>();
  private readonly parked = new ParkedRanges();
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

  attach(bdf: string, token: string | undefined): JoinedDevice {
    const { device, leave } = this.groups.open(bdf, token);
    return { io: device, leave };
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

  tellLive(mappings: LiveMappings): () => void {
    const { live } = this;
    live.add(mappings);
    return () => live.delete(mappings);
  }

  /** What may be mapped has changed: what there is to hand out is found anew. */
  devicesChanged(): void {
    this.parked.clear();
    this.allocator = this.findFree();
  }

  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    return iovaOfPage(this.mapAt(address, sizeBytes, access, fixed, placement));
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.unmapPages(iovaPage(at), sizeBytes);
  }

  mapPages(address: number, sizeBytes: number, access: DmaAccess): number {
    return this.mapAt(address, sizeBytes, access, undefined, undefined);
  }

  unmapPages(page: number, sizeBytes: number): void {
    this.container.unmapPages(page, sizeBytes);
    this.parked.park(page, sizeBytes, this.giveBack);
  }

  private mapAt(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement: IovaPlacement | undefined,
  ): number {
    for (let foreign = 0; ; ) {
      const page = this.take(address, sizeBytes, fixed, placement);
      try {
        this.container.mapPages(address, sizeBytes, page, access);
        return page;
      } catch (error) {
        const isTaken = error instanceof SysError && error.code === "EEXIST";
        // Somebody mapped there through the container itself: stays taken here, and another place is tried.
        if (isTaken && fixed === undefined && ++foreign < MAX_FOREIGN) continue;
        this.allocator.releasePages(page, sizeBytes);
        if (!isTaken) throw error;
        const where = `iova 0x${iovaOfPage(page).toString(16)}`;
        throw new IovaSpaceError("taken", `${where} is mapped already`, { cause: error });
      }
    }
  }

  private readonly giveBack = (page: number, sizeBytes: number): void => {
    this.allocator.releasePages(page, sizeBytes);
  };

  private take(
    address: number,
    sizeBytes: number,
    fixed: bigint | undefined,
    placement: IovaPlacement | undefined,
  ): number {
    const alignBytes = hugeAlignment(address, sizeBytes);
    const isPlaced = fixed !== undefined || alignBytes > 0 || this.zones.matter(placement);
    if (!isPlaced) {
      const page = this.parked.take(sizeBytes);
      if (page >= 0) return page;
    }
    this.parked.drain(this.giveBack);
    if (fixed !== undefined) {
      this.allocator.reserve(fixed, sizeBytes);
      return iovaPage(fixed);
    }
    return isPlaced
      ? iovaPage(this.zones.alloc(this.allocator, sizeBytes, placement, alignBytes))
      : this.allocator.allocPages(sizeBytes);
  }

  private findFree(): IovaAllocator {
    const info = this.container.info();
    this.ranges = info.iovaRanges;
    const smallestPage = Number(info.pageSizes & -info.pageSizes);
    const allocator = new IovaAllocator(this.ranges, Math.max(smallestPage, PAGE_SIZE));
    for (const mappings of this.live) {
      for (const { page, mappedBytes } of mappings.records())
        allocator.reserve(iovaOfPage(page), mappedBytes);
    }
    return allocator;
  }
}
