/** Maps memory into a VFIO container. */
import { Errno } from "../core/errno.js";
import { SysError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import type { DmaAccess } from "../dma/access.js";
import { AddressChooser } from "../dma/address-chooser.js";
import { type Iova, type IovaRange, iovaOfPage, pageOfIova } from "../dma/iova/address.js";
import type { IovaPlacement } from "../dma/iova/allocator.js";
import type { DmaMapperExtensions, PageMapper } from "../dma/mapper.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import type { VfioContainer } from "./container.js";
import { GroupTable } from "./group-table.js";

/** The DMA mapper of type1. The kernel leaves the choice of addresses to the process. */
export class ContainerMapper implements JoinableMapper, PageMapper {
  readonly lease: Lease;
  /** The container's groups, for devices that join later. */
  readonly groups: GroupTable;
  readonly extensions: DmaMapperExtensions;
  private readonly chooser: AddressChooser;

  /**
   * @param container with its IOMMU set
   * @param name the backend's name for users; `iommufd-compat` if iommufd answers the container's requests
   * @throws StateError, ClosedError, SysError
   */
  constructor(
    readonly container: VfioContainer,
    readonly name: "type1" | "iommufd-compat" = "type1",
  ) {
    this.lease = container.assertReady();
    this.groups = new GroupTable(container);
    this.chooser = new AddressChooser(() => {
      const { iovaRanges, pageSizes } = container.info();
      return { ranges: iovaRanges, alignmentBytes: Number(pageSizes & -pageSizes) };
    });
    // Throws now if the container can't tell its ranges.
    void this.chooser.addresses;
    this.extensions = {
      chooser: this.chooser,
      pages: this,
      memlockAccount: () => (name === "type1" ? "process" : "user"),
    };
  }

  attach(bdf: string, token: string | undefined): JoinedDevice {
    const { device, leave } = this.groups.open(bdf, token);
    return { io: device, leave };
  }

  /** @internal */
  attachGiven(bdf: string, token: string | undefined, fd: number): JoinedDevice {
    const { device, leave } = this.groups.openGiven(bdf, token, fd);
    return { io: device, leave };
  }

  iovaRanges(): IovaRange[] {
    return this.chooser.addresses.ranges;
  }

  alignmentBytes(): number {
    return Math.max(this.chooser.addresses.alignmentBytes, PAGE_SIZE);
  }

  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    return iovaOfPage(this.chooser.map(this.mapAt, address, sizeBytes, access, fixed, placement));
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.chooser.assertNoBuffer(at, sizeBytes);
    const iovaPage = pageOfIova(at);
    if (this.container.unmap(at, sizeBytes) === 0 && this.container.hasIommu()) {
      // The kernel calls that a success.
      this.chooser.releaseUnknown(iovaPage, sizeBytes);
      const object = `${this.container.lease.label}: ${sizeBytes} bytes at iova 0x${at.toString(16)}`;
      throw new SysError("VFIO_IOMMU_UNMAP_DMA", Errno.ENOENT, { object });
    }
    this.chooser.release(iovaPage, sizeBytes);
  }

  mapPages(address: number, sizeBytes: number, access: DmaAccess): number {
    return this.chooser.map(this.mapAt, address, sizeBytes, access, undefined, undefined);
  }

  unmapPages(iovaPage: number, sizeBytes: number): void {
    this.container.unmapPages(iovaPage, sizeBytes);
    this.chooser.release(iovaPage, sizeBytes);
  }

  private readonly mapAt = (
    iovaPage: number,
    address: number,
    sizeBytes: number,
    access: DmaAccess,
  ): void => {
    this.container.mapPages(address, sizeBytes, iovaPage, access);
  };
}
