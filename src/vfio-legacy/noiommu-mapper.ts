/** The DMA mapper of groups without an IOMMU: physical addresses. */
import { UnsupportedError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import type { DmaAccess } from "../dma/access.js";
import { HugePageParts } from "../dma/huge-page-parts.js";
import { type Iova, type IovaRange, iova } from "../dma/iova/address.js";
import type { IovaPlacement } from "../dma/iova/allocator.js";
import type { DmaMapperExtensions } from "../dma/mapper.js";
import {
  ALL_ADDRESSES,
  checkPlacement,
  PhysicalMappings,
  type Pinned,
  refuseFixed,
} from "../dma/physical.js";
import { joinSegments } from "../dma/segments.js";
import { adviseSamePages, lockPages, populatePages } from "../sys/mmap.js";
import { isHugePage, movesLockedPages, physicalPages } from "../sys/pagemap.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import type { VfioContainer } from "./container.js";
import { GroupTable } from "./group-table.js";

/**
 * Maps memory for devices without an IOMMU, opened by group. The kernel maps nothing, so this mapper locks the memory and looks
 * up its physical addresses. Locked is not pinned: if the kernel may move locked pages, only explicit huge pages are accepted. It
 * also asks the kernel not to join them to a huge page, and not to share them with equal ones.
 */
export class NoiommuGroupMapper implements JoinableMapper {
  readonly name = "noiommu";
  readonly lease: Lease;
  /** The container's groups, for devices that join later. */
  readonly groups: GroupTable;
  readonly extensions: DmaMapperExtensions;
  private readonly mappings = new PhysicalMappings();

  /** @param container with its IOMMU set to `noiommu` */
  constructor(readonly container: VfioContainer) {
    this.lease = container.assertReady();
    this.groups = new GroupTable(container);
    this.extensions = {
      buffers: new HugePageParts(pin, this.mappings),
      physicalSegments: (_address, at) => [...this.mappings.get(at).segments],
    };
  }

  attach(bdf: string, token: string | undefined): JoinedDevice {
    const { device, leave } = this.groups.open(bdf, token);
    return { io: device, leave };
  }

  iovaRanges(): IovaRange[] {
    return ALL_ADDRESSES;
  }

  alignmentBytes(): number {
    return PAGE_SIZE;
  }

  map(
    address: number,
    sizeBytes: number,
    _access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    refuseFixed(fixed);
    const pinned = pin(address, sizeBytes);
    checkPlacement(pinned.segments, placement);
    return this.mappings.add(pinned);
  }

  unmap(at: bigint): void {
    this.mappings.release(at);
  }
}

/** Its pages stay locked for as long as they are there: nothing is to be released. @throws SysError, UnsupportedError */
function pin(address: number, sizeBytes: number): Pinned {
  populatePages(address, sizeBytes);
  adviseSamePages(address, sizeBytes);
  lockPages(address, sizeBytes);
  const pages = physicalPages(address, sizeBytes);
  if (movesLockedPages() && !pages.every(isHugePage)) {
    throw new UnsupportedError(
      "the kernel may move locked pages, and the device would not notice: use explicit huge pages (pages: 2 MiB), the " +
        "character device, or set vm.compact_unevictable_allowed and kernel.numa_balancing to 0",
    );
  }
  return {
    segments: joinSegments(pages.map((page) => ({ iova: iova(page), sizeBytes: PAGE_SIZE }))),
    release: () => {},
  };
}
