/** Hardware page tables (IOMMU_HWPT_ALLOC). */
import { checkKeys } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { DirtyBitmap } from "../dma/dirty-bitmap.js";
import { addressOf, keepAlive } from "../sys/libc.js";
import { call } from "./call.js";
import { destroying } from "./destroy.js";
import { type BoundDevice, checkBoundDevice } from "./device-ref.js";
import { checkDriverData, type DriverData, type InvalidationData } from "./driver-data.js";
import type { FaultQueue } from "./fault-queue.js";
import { invalidate } from "./invalidate.js";
import type { Ioas } from "./ioas.js";
import type { Iommufd } from "./iommufd.js";
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
  IOMMU_HWPT_ALLOC_NEST_PARENT,
  IOMMU_HWPT_ALLOC_PASID,
  IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
  IOMMU_HWPT_FAULT_ID_VALID,
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
  IOMMU_HWPT_SET_DIRTY_TRACKING,
  iommu_hwpt_alloc,
  iommu_hwpt_get_dirty_bitmap,
  iommu_hwpt_set_dirty_tracking,
} from "./uapi-hwpt.js";

/** Options of all hardware page tables. */
export interface HwptOptions {
  /** Queue for I/O page faults of devices on this table. */
  readonly faultQueue?: FaultQueue | undefined;
  /** The table will be attached to PASIDs, or to a device whose PASIDs are used (IOMMU_HWPT_ALLOC_PASID). */
  readonly pasid?: boolean | undefined;
}

/** Options of {@link Ioas.allocHwpt}. */
export interface PagingHwptOptions extends HwptOptions {
  /** It can be the parent of nested page tables and of a vIOMMU (IOMMU_HWPT_ALLOC_NEST_PARENT). */
  readonly nestParent?: boolean | undefined;
  /** Pages that devices write to can be tracked (IOMMU_HWPT_ALLOC_DIRTY_TRACKING). */
  readonly dirtyTracking?: boolean | undefined;
  /** Data for the IOMMU's driver. */
  readonly data?: DriverData | undefined;
}

const nestedOptions: readonly (keyof HwptOptions)[] = ["faultQueue", "pasid"];
const pagingOptions: readonly (keyof PagingHwptOptions)[] = [
  ...nestedOptions,
  "nestParent",
  "dirtyTracking",
  "data",
];

/** Input of IOMMU_HWPT_ALLOC. */
interface AllocRequest {
  readonly iommufd: Iommufd;
  readonly device: BoundDevice;
  /** Id of the IOAS, parent page table or vIOMMU. */
  readonly parentId: number;
  readonly parentLabel: string;
  readonly flags: number;
  readonly options: HwptOptions & { readonly data?: DriverData | undefined };
}

/** IOMMU_HWPT_ALLOC. @returns the new object's id */
function allocate({ iommufd, device, parentId, parentLabel, flags, options }: AllocRequest): number {
  const { faultQueue, pasid, data } = options;
  checkBoundDevice(device);
  if (data !== undefined) checkDriverData(data);
  if (device.iommufd !== iommufd) {
    throw new ArgumentError(`${device.lease.label} is not bound to the iommufd of ${parentLabel}`);
  }
  if (faultQueue !== undefined) {
    checkLeased("faultQueue", faultQueue, "a FaultQueue", { id: "number" });
    faultQueue.lease.assertOpen();
    if (faultQueue.iommufd !== iommufd) {
      throw new ArgumentError(`${faultQueue.lease.label} and ${parentLabel} belong to different iommufds`);
    }
  }
  const values = {
    flags:
      flags |
      (faultQueue === undefined ? 0 : IOMMU_HWPT_FAULT_ID_VALID) |
      (pasid === true ? IOMMU_HWPT_ALLOC_PASID : 0),
    dev_id: device.deviceId,
    pt_id: parentId,
    data_type: data?.type ?? 0,
    data_len: data?.bytes.length ?? 0,
    data_uptr: data === undefined ? 0n : BigInt(addressOf(data.bytes)),
    fault_id: faultQueue?.id ?? 0,
  };
  // The smallest form of the request: data needs Linux 6.8, fault queues 6.11.
  let request: Uint8Array;
  if (faultQueue !== undefined) request = iommu_hwpt_alloc.encode(values);
  else if (data !== undefined) request = iommu_hwpt_alloc.encodeUpTo("fault_id", values);
  else request = iommu_hwpt_alloc.encodeUpTo("data_type", values);
  call(iommufd.fd, IOMMU_HWPT_ALLOC, request, { object: `${parentLabel} for ${device.lease.label}` });
  if (data !== undefined) keepAlive(data.bytes);
  return iommu_hwpt_alloc.get(request, "out_hwpt_id");
}

/** A hardware page table (HWPT): the IOMMU uses it to translate for attached devices. */
export abstract class Hwpt extends Resource {
  protected constructor(
    /** The iommufd of this object. */
    readonly iommufd: Iommufd,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    kind: string,
    parent: Resource,
    faultQueue: FaultQueue | undefined,
  ) {
    const { fd } = iommufd;
    const label = `${kind} ${id} of ${iommufd.lease.label}`;
    super({ label, release: destroying(fd, id, label), parents: [parent, faultQueue] });
  }
}

/** A page table of an IOAS, with all its mappings. */
export class PagingHwpt extends Hwpt {
  private constructor(
    /** The address space of the table. */
    readonly ioas: Ioas,
    id: number,
    options: PagingHwptOptions,
  ) {
    super(ioas.iommufd, id, "hwpt", ioas, options.faultQueue);
  }

  /**
   * See {@link Ioas.allocHwpt}.
   * @internal
   */
  static alloc(ioas: Ioas, device: BoundDevice, options: PagingHwptOptions): PagingHwpt {
    checkKeys("options", options, pagingOptions);
    const id = allocate({
      iommufd: ioas.iommufd,
      device,
      parentId: ioas.id,
      parentLabel: ioas.lease.label,
      flags:
        (options.nestParent === true ? IOMMU_HWPT_ALLOC_NEST_PARENT : 0) |
        (options.dirtyTracking === true ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING : 0),
      options,
    });
    return new PagingHwpt(ioas, id, options);
  }

  /**
   * A nested page table on this one, which must be a nest parent. The IOMMU walks the nested (guest's) table first.
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError: EINVAL (no nest parent, wrong data), EIO
   */
  allocNested(device: BoundDevice, data: DriverData, options: HwptOptions = {}): NestedHwpt {
    this.lease.assertOpen();
    return NestedHwpt.alloc(this, device, data, options);
  }

  /**
   * Enables or disables tracking. Enabling it marks all pages clean.
   * @throws ClosedError, SysError: EOPNOTSUPP if the table was allocated without dirtyTracking
   */
  setDirtyTracking(enabled: boolean): void {
    this.lease.assertOpen();
    const request = iommu_hwpt_set_dirty_tracking.encode({
      flags: enabled ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
      hwpt_id: this.id,
    });
    call(this.iommufd.fd, IOMMU_HWPT_SET_DIRTY_TRACKING, request, { object: this.lease.label });
  }

  /**
   * Pages of [at, at + sizeBytes) that devices have written to since the last call.
   * @param pageSizeBytes bytes per bit, a power of two, at least the IOMMU's page size
   * @param options keep: leaves the pages dirty for the next call
   * @throws ArgumentError, ClosedError, SysError: EINVAL (misaligned), EOPNOTSUPP
   */
  readDirty(
    at: bigint,
    sizeBytes: number,
    pageSizeBytes: number,
    options: { readonly keep?: boolean } = {},
  ): DirtyBitmap {
    this.lease.assertOpen();
    checkKeys("options", options, ["keep"]);
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const request = iommu_hwpt_get_dirty_bitmap.encode({
      hwpt_id: this.id,
      flags: options.keep === true ? IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0,
      iova: at,
      length: BigInt(sizeBytes),
      page_size: BigInt(pageSizeBytes),
      data: BigInt(addressOf(bitmap.bits)),
    });
    call(this.iommufd.fd, IOMMU_HWPT_GET_DIRTY_BITMAP, request, { object: this.lease.label });
    return bitmap;
  }
}

/** A guest's page table, nested on its parent. */
export class NestedHwpt extends Hwpt {
  private constructor(parent: NestedParent, id: number, options: HwptOptions) {
    super(parent.iommufd, id, "nested hwpt", parent, options.faultQueue);
  }

  /**
   * See {@link PagingHwpt.allocNested} and {@link Viommu.allocNested}.
   * @internal
   */
  static alloc(
    parent: NestedParent,
    device: BoundDevice,
    data: DriverData,
    options: HwptOptions,
  ): NestedHwpt {
    checkKeys("options", options, nestedOptions);
    checkDriverData(data);
    const id = allocate({
      iommufd: parent.iommufd,
      device,
      parentId: parent.id,
      parentLabel: parent.lease.label,
      flags: 0,
      options: { ...options, data },
    });
    return new NestedHwpt(parent, id, options);
  }

  /**
   * Invalidates the IOMMU's caches of this table.
   * @throws InvalidationError (with the number of completed requests), UnsupportedError, ArgumentError, ClosedError
   */
  invalidate(data: InvalidationData): void {
    this.lease.assertOpen();
    invalidate(this.iommufd.fd, this.id, this.lease.label, data);
  }
}

/** Parent of a nested page table: a nest parent or a vIOMMU. */
interface NestedParent extends Resource {
  readonly iommufd: Iommufd;
  readonly id: number;
}
