import { type Iova, type IovaRange, iova } from "../dma/iova.js";
import { IovaAllocator } from "../dma/iova-allocator.js";
import type { DmaAccess, DmaMapper } from "../dma/mapper.js";
import type { Lease } from "../sys/resource.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { VfioContainer } from "./container.js";

/** A type1 container as the translator behind a DmaSpace. The kernel leaves the choice of addresses to us. */
export class ContainerMapper implements DmaMapper {
  readonly name = "type1";
  readonly lease: Lease;
  private readonly ranges: IovaRange[];
  private readonly allocator: IovaAllocator;

  /** @param container with its IOMMU set. @throws SysError */
  constructor(private readonly container: VfioContainer) {
    this.lease = container.assertReady();
    const info = container.info();
    this.ranges = info.iovaRanges;
    const smallestPage = Number(info.pageSizes & -info.pageSizes);
    this.allocator = new IovaAllocator(this.ranges, Math.max(smallestPage, PAGE_SIZE));
  }

  iovaRanges(): IovaRange[] {
    return this.ranges;
  }

  alignmentBytes(): number {
    return this.allocator.granuleBytes;
  }

  map(address: number, sizeBytes: number, access: DmaAccess, fixed: bigint | undefined): Iova {
    let at: Iova;
    if (fixed === undefined) at = this.allocator.alloc(sizeBytes);
    else {
      this.allocator.reserve(fixed, sizeBytes);
      at = iova(fixed);
    }
    try {
      this.container.map({ address, sizeBytes }, at, access);
    } catch (error) {
      this.allocator.release(at, sizeBytes);
      throw error;
    }
    return at;
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.container.unmap(at, sizeBytes);
    this.allocator.release(at, sizeBytes);
  }
}
