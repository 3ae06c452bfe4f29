import { Lease, Resource } from "../sys/resource.js";
import type { Iova } from "./iova.js";
import type { DmaSpace } from "./space.js";

/**
 * A dma-buf in an address space: another device's memory, without a view for the CPU. Where its exporter takes it away (a
 * reset of that device, its end) devices reach nothing here any more, for good.
 */
export class DmaWindow extends Resource {
  readonly iovaLow: number;
  readonly iovaHigh: number;

  /** Not for users: see {@link DmaSpace.mapDmaBuf}. */
  constructor(
    readonly space: DmaSpace,
    /** Where devices find the first byte. */
    readonly iova: Iova,
    readonly sizeBytes: number,
    unmap: () => void,
    site: string,
  ) {
    const label = `DMA window of ${sizeBytes} bytes at iova 0x${iova.toString(16)}`;
    super(new Lease(label, unmap, space.lease), site);
    this.iovaLow = Number(iova & 0xffff_ffffn);
    this.iovaHigh = Number(iova >> 32n);
  }
}
