/** Virtual IOMMUs (IOMMU_VIOMMU_ALLOC). */
import { checkInteger, checkLength, checkU32, checkU64 } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { addressOf, keepAlive } from "../sys/libc.js";
import { MappedMemory } from "../sys/memory.js";
import { call } from "./call.js";
import { destroying } from "./destroy.js";
import { type BoundDevice, checkBoundDevice } from "./device-ref.js";
import { checkDriverData, type DriverData, type InvalidationData } from "./driver-data.js";
import { HwQueue } from "./hw-queue.js";
import { type HwptOptions, NestedHwpt, type PagingHwpt } from "./hwpt.js";
import { invalidate } from "./invalidate.js";
import type { Iommufd } from "./iommufd.js";
import { IOMMU_VIOMMU_ALLOC, iommu_viommu_alloc } from "./uapi-viommu.js";
import { Vdevice } from "./vdevice.js";
import { Veventq, type VeventqOptions } from "./veventq.js";

/** A slice of a physical IOMMU for one guest (vIOMMU). */
export class Viommu extends Resource {
  /** Hardware queues by index: each needs its predecessor, and closes before it. */
  private readonly queues = new Map<number, HwQueue>();

  private constructor(
    /** The nest parent, which translates the guest's physical addresses. */
    readonly parent: PagingHwpt,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** enum iommu_viommu_type */
    readonly type: number,
    /** Answer of the IOMMU's driver, in the form of the data passed to it. */
    readonly data: Uint8Array,
  ) {
    const { fd } = parent.iommufd;
    const label = `viommu ${id} of ${parent.iommufd.lease.label}`;
    super({ label, release: destroying(fd, id, label), parents: [parent] });
  }

  /**
   * IOMMU_VIOMMU_ALLOC.
   * @param parent a page table allocated with nestParent
   * @param data type (IOMMU_VIOMMU_TYPE_*), and the driver's input and output of that type; often empty
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError: EOPNOTSUPP (type), EINVAL (no nest parent)
   */
  static alloc(parent: PagingHwpt, device: BoundDevice, data: DriverData): Viommu {
    checkLeased("parent", parent, "a PagingHwpt", { id: "number", iommufd: "object" });
    parent.lease.assertOpen();
    checkBoundDevice(device);
    checkDriverData(data);
    if (device.iommufd !== parent.iommufd) {
      throw new ArgumentError(`${device.lease.label} is not bound to the iommufd of ${parent.lease.label}`);
    }
    const answer = data.bytes.slice();
    const values = {
      type: checkU32("type", data.type),
      dev_id: device.deviceId,
      hwpt_id: parent.id,
      data_len: answer.length,
      data_uptr: answer.length === 0 ? 0n : BigInt(addressOf(answer)),
    };
    // Data needs Linux 6.17. Without data the request has the older form, which all kernels accept.
    const request =
      answer.length === 0
        ? iommu_viommu_alloc.encodeUpTo("data_len", values)
        : iommu_viommu_alloc.encode(values);
    call(parent.iommufd.fd, IOMMU_VIOMMU_ALLOC, request, {
      object: `${parent.lease.label} for ${device.lease.label}`,
    });
    keepAlive(answer);
    return new Viommu(parent, iommu_viommu_alloc.get(request, "out_viommu_id"), data.type, answer);
  }

  /** The iommufd of this object. */
  get iommufd(): Iommufd {
    return this.parent.iommufd;
  }

  /**
   * IOMMU_VDEVICE_ALLOC: registers a device of the guest.
   * @param virtualId the device's id on the guest's IOMMU: a stream id on Arm, a device id on AMD, an RID on Intel
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError: EEXIST (device or id taken), EINVAL
   */
  allocVdevice(device: BoundDevice, virtualId: bigint): Vdevice {
    this.lease.assertOpen();
    return Vdevice.alloc(this, device, checkU64("virtualId", virtualId));
  }

  /** A nested page table whose invalidations and events go through this vIOMMU. @throws as PagingHwpt.allocNested */
  allocNested(device: BoundDevice, data: DriverData, options: HwptOptions = {}): NestedHwpt {
    this.lease.assertOpen();
    return NestedHwpt.alloc(this, device, data, options);
  }

  /** IOMMU_VEVENTQ_ALLOC: events for the guest. @throws ArgumentError, UnsupportedError, SysError: EEXIST, EINVAL */
  allocVeventq(options: VeventqOptions): Veventq {
    this.lease.assertOpen();
    return Veventq.alloc(this, options);
  }

  /**
   * IOMMU_HW_QUEUE_ALLOC: a guest's queue that the hardware reads directly. Allocate indexes in order from 0. The queue's
   * memory can't be unmapped while it exists.
   * @param type enum iommu_hw_queue_type
   * @param at address of the queue in the nest parent
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError: EIO (order), EEXIST, ENOENT (unmapped), EFAULT
   */
  allocHwQueue(type: number, index: number, at: bigint, sizeBytes: number): HwQueue {
    this.lease.assertOpen();
    checkU32("type", type);
    checkU32("index", index);
    checkU64("iova", at);
    checkLength("sizeBytes", sizeBytes);
    const queue = HwQueue.alloc(this, this.queues.get(index - 1), { type, index, iova: at, sizeBytes });
    this.queues.set(index, queue);
    return queue;
  }

  /**
   * Invalidates the IOMMU's caches for this guest.
   * @throws InvalidationError (with the number of completed requests), UnsupportedError, ArgumentError, ClosedError
   */
  invalidate(data: InvalidationData): void {
    this.lease.assertOpen();
    invalidate(this.iommufd.fd, this.id, this.lease.label, data);
  }

  /**
   * Maps registers of the IOMMU. The driver returned their offset and length in {@link data}.
   * @throws ClosedError, SysError: ENXIO for any other offset or length
   */
  map(offset: bigint, sizeBytes: number): MappedMemory {
    this.lease.assertOpen();
    const at = checkInteger("offset", Number(checkU64("offset", offset)), 0, Number.MAX_SAFE_INTEGER);
    const memory = MappedMemory.ofFile(this.iommufd.fd, at, sizeBytes, `registers of ${this.lease.label}`);
    memory.dependOn(this);
    return memory;
  }
}
