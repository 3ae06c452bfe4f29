/** DMA windows: dma-bufs that are mapped for devices without a view. */
import type { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { highOfPage, type Iova, iovaOfPage, lowOfPage } from "./iova/address.js";
import { type MappedIndex, MappedRecord } from "./mapped-index.js";
import type { DmaMapper } from "./mapper.js";
import type { DmaSpace } from "./space.js";
import { traceUnmap } from "./trace.js";

/** The obligation to unmap a {@link DmaWindow}, and what the space's index knows of it. */
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
    this.mapper.unmap(iovaOfPage(this.iovaPage), this.mappedBytes);
    traceUnmap(this.mapper, this.iovaPage, this.mappedBytes);
  }
}

/**
 * A dma-buf in an address space: another device's memory, without a view for the CPU. Where its exporter takes it away (a
 * reset of that device, its end) devices reach nothing here any more, for good.
 */
export class DmaWindow extends Resource {
  /** Where devices find the first byte. */
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
