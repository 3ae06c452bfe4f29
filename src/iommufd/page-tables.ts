/** Page tables of a program's own for an open device. */
import { checkKeys, checkMembers } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { DmaSpace } from "../dma/space.js";
import type { PageTable } from "../vfio/device.js";
import { type AttachableDevice, checkBoundDevice } from "./device-ref.js";
import type { FaultQueue } from "./fault-queue.js";
import type { HwInfo } from "./hw-info.js";
import type { PagingHwpt, PagingHwptOptions } from "./hwpt.js";
import type { Ioas } from "./ioas.js";
import { IoasMapper } from "./ioas-mapper.js";
import type { Iommufd } from "./iommufd.js";

/** Options of {@link DevicePageTables.alloc}. */
export interface PageTableOptions extends PagingHwptOptions {
  /** The space whose mappings the table has; the device's own by default. */
  readonly space?: DmaSpace | undefined;
}

/** Options of {@link DevicePageTables.attach} and {@link DevicePageTables.detach}. */
export interface PageTableTarget {
  /** Only DMA with this process address space id; by default the device's DMA without one. */
  readonly pasid?: number | undefined;
}

/**
 * Page tables for a device on iommufd, besides the one that it got when it was opened: with a queue of page faults, for PASIDs, as
 * the parent of a guest's tables, with dirty tracking. `device.pageTables` of a PciDevice is one.
 */
export class DevicePageTables {
  /** The iommufd of the device and its tables. */
  readonly iommufd: Iommufd;
  /** The kernel's address space behind {@link dma}. */
  readonly ioas: Ioas;

  /** @throws ArgumentError, UnsupportedError if the space isn't on iommufd */
  constructor(
    /** The bound device, for what takes one: `parent.allocNested(device, data)`, `Viommu.alloc()`. */
    readonly device: AttachableDevice,
    /** The device's ordinary space. Attach it to return from another table. */
    readonly dma: DmaSpace,
  ) {
    checkMembers("device", device, "a device that can be attached", {
      attach: "function",
      detach: "function",
    });
    checkBoundDevice(device);
    this.ioas = ioasOf(dma);
    this.iommufd = this.ioas.iommufd;
    this.assertSame(this.ioas, dma);
  }

  /** What the device's IOMMU can do (IOMMU_GET_HW_INFO). @throws ClosedError, UnsupportedError, SysError */
  hwInfo(): HwInfo {
    return this.iommufd.hwInfo(this.device);
  }

  /**
   * Makes a page table with all mappings of a space, those to come included (IOMMU_HWPT_ALLOC). It translates after {@link attach}.
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError as `Ioas.allocHwpt()`: EOPNOTSUPP if the IOMMU lacks an option
   */
  alloc(options: PageTableOptions = {}): PagingHwpt {
    checkKeys("options", options, ["space", "nestParent", "dirtyTracking", "faultQueue", "pasid", "data"]);
    const { space = this.dma, ...rest } = options;
    return this.ioasOf(space).allocHwpt(this.device, rest);
  }

  /**
   * Makes another address space, empty, for DMA of this device with a PASID, or instead of {@link dma}. Closing it closes its page
   * tables, which blocks the DMA that they translated.
   * @throws ClosedError, SysError
   */
  allocSpace(): DmaSpace {
    const ioas = this.iommufd.allocIoas();
    try {
      return new DmaSpace(new IoasMapper(ioas, this.iommufd.lease), ioas);
    } catch (error) {
      ioas.close();
      throw error;
    }
  }

  /**
   * Makes a queue of page faults, for the option `faultQueue` of {@link alloc} (IOMMU_FAULT_QUEUE_ALLOC).
   * @throws ClosedError, UnsupportedError, SysError
   */
  allocFaultQueue(): FaultQueue {
    return this.iommufd.allocFaultQueue();
  }

  /**
   * From now on the table translates the device's DMA, or that of one PASID, in place of the one before (VFIO_DEVICE_ATTACH_IOMMUFD_PT).
   * Closing the table blocks this DMA: attach another one first.
   * @param table a page table, or a space: `attach(dma)` returns to the ordinary one
   * @throws ArgumentError, ClosedError, SysError: EINVAL (the table isn't for PASIDs, or not for this device), ENODEV (it has a fault
   *   queue, and the device or IOMMU no page requests), EBUSY
   */
  attach(table: PageTable | DmaSpace, options: PageTableTarget = {}): void {
    const pasid = pasidOf(options);
    if (table instanceof DmaSpace) {
      table.lease.assertOpen();
      this.device.attach(this.ioasOf(table), pasid);
      return;
    }
    // Not by class: there may be two copies of this library.
    checkLeased("table", table, "a page table or a DmaSpace", { id: "number", iommufd: "object" });
    this.device.attach(table, pasid);
  }

  /**
   * Blocks the device's DMA, or that of one PASID, until something is attached again. Does nothing if nothing is attached.
   * @throws ArgumentError, ClosedError, SysError
   */
  detach(options: PageTableTarget = {}): void {
    this.device.detach(pasidOf(options));
  }

  private ioasOf(space: DmaSpace): Ioas {
    const ioas = ioasOf(space);
    this.assertSame(ioas, space);
    return ioas;
  }

  /** @throws ArgumentError */
  private assertSame(ioas: Ioas, { lease }: DmaSpace): void {
    if (ioas.iommufd !== this.device.iommufd) {
      throw new ArgumentError(
        `${lease.label} belongs to another iommufd than ${this.device.lease.label}: make it by allocSpace()`,
      );
    }
  }
}

/** @throws ArgumentError, UnsupportedError */
function ioasOf(space: DmaSpace): Ioas {
  if (!(space instanceof DmaSpace)) throw new ArgumentError("space must be a DmaSpace");
  const { mapper } = space;
  if (mapper instanceof IoasMapper) return mapper.ioas;
  throw new UnsupportedError(`${space.lease.label} has no page tables to choose: only iommufd has them`);
}

/** @throws ArgumentError */
function pasidOf(options: PageTableTarget): { readonly pasid?: number } {
  checkKeys("options", options, ["pasid"]);
  return options.pasid === undefined ? {} : { pasid: options.pasid };
}
