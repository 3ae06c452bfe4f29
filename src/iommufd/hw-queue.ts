/** Hardware queues of a vIOMMU (IOMMU_HW_QUEUE_ALLOC). */
import { Resource } from "../core/lifetime/resource.js";
import { call } from "./call.js";
import { destroying } from "./destroy.js";
import { IOMMU_HW_QUEUE_ALLOC, iommu_hw_queue_alloc } from "./uapi-viommu.js";
import type { Viommu } from "./viommu.js";

/** Type, index and memory of a hardware queue. */
export interface HwQueueOptions {
  /** enum iommu_hw_queue_type */
  readonly type: number;
  /** The queue's number among those of its type in the virtual IOMMU. Queues are allocated in ascending order. */
  readonly index: number;
  /** Guest physical address of the queue's memory. */
  readonly iova: bigint;
  /** Length of the queue's memory in bytes. */
  readonly sizeBytes: number;
}

/** A guest's queue that the IOMMU's hardware reads directly. Queues of higher indexes close first. */
export class HwQueue extends Resource {
  private constructor(
    /** The virtual IOMMU that the queue belongs to. */
    readonly viommu: Viommu,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** The queue's number among those of its type in the virtual IOMMU. */
    readonly index: number,
    before: HwQueue | undefined,
  ) {
    const { fd } = viommu.iommufd;
    const label = `hw queue ${id} (index ${index}) of ${viommu.iommufd.lease.label}`;
    const parents = [viommu, before?.closed === true ? undefined : before];
    super({ label, release: destroying(fd, id, label), parents });
  }

  /**
   * See {@link Viommu.allocHwQueue}.
   * @internal
   */
  static alloc(viommu: Viommu, before: HwQueue | undefined, options: HwQueueOptions): HwQueue {
    const request = iommu_hw_queue_alloc.encode({
      viommu_id: viommu.id,
      type: options.type,
      index: options.index,
      nesting_parent_iova: options.iova,
      length: BigInt(options.sizeBytes),
    });
    call(viommu.iommufd.fd, IOMMU_HW_QUEUE_ALLOC, request, {
      object: `${viommu.lease.label}, index ${options.index}`,
    });
    return new HwQueue(viommu, iommu_hw_queue_alloc.decode(request).out_hw_queue_id, options.index, before);
  }
}
