/** DMA windows: dma-bufs that are mapped for devices, but not for the CPU. */
import type { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { highOfPage, type Iova, iovaOfPage, lowOfPage } from "./iova/address.js";
import { type MappedIndex, MappedRecord } from "./mapped-index.js";
import type { DmaMapper } from "./mapper.js";
import type { DmaSpace } from "./space.js";
import { traceUnmap } from "./trace.js";

/** The obligation to unmap a {@link DmaWindow}, and its record in the space's index. */
export class WindowLease extends MappedRecord {
  readonly memory = undefined;
  readonly segments = undefined;

  constructor(
    space: Lease,
    index: MappedIndex,
    private readonly mapper: DmaMapper,
    iovaPage: number,
    readonly mappedBytes: number,
  ) {
    const label = `DMA window of ${mappedBytes} bytes at iova 0x${iovaOfPage(iovaPage).toString(16)}`;
    super(space, label, index, iovaPage);
    index.add(this);
  }

  protected override release(): void {
    this.index.delete(this);
    const pages = this.mapper.extensions?.pages;
    if (pages === undefined) this.mapper.unmap(iovaOfPage(this.iovaPage), this.mappedBytes);
    else pages.unmapPages(this.iovaPage, this.mappedBytes);
    traceUnmap(this.mapper, this.iovaPage, this.mappedBytes);
  }
}

/**
 * A dma-buf mapped in an address space: another device's memory, without a view for the CPU. If the exporter revokes it
 * (the device is reset or closed), devices can't access it any more.
 */
export class DmaWindow extends Resource {
  /** I/O virtual address of the first byte. */
  readonly iova: Iova;
  /** Low 32 bits of {@link iova}. */
  readonly iovaLow: number;
  /** High 32 bits of {@link iova}. */
  readonly iovaHigh: number;
  /** Length in bytes. */
  readonly sizeBytes: number;

  /** Not for users: see {@link DmaSpace.mapDmaBuf}. */
  constructor(
    /** The address space that the dma-buf is mapped in. */
    readonly space: DmaSpace,
    lease: WindowLease,
    site: string,
  ) {
    super(lease, site);
    const { iovaPage, mappedBytes } = lease;
    this.iova = iovaOfPage(iovaPage);
    this.iovaLow = lowOfPage(iovaPage);
    this.iovaHigh = highOfPage(iovaPage);
    this.sizeBytes = mappedBytes;
  }
}
