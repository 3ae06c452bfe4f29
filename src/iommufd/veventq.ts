/** Event queues of a vIOMMU (IOMMU_VEVENTQ_ALLOC). */
import { checkInteger, checkU32 } from "../core/check.js";
import { ArgumentError, StateError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import type { ListenOptions } from "../core/listeners.js";
import { adopt } from "../sys/descriptors.js";
import { EventStream } from "../sys/event-stream.js";
import { closing, read } from "../sys/syscalls.js";
import { call } from "./call.js";
import { closingAndDestroying, destroying } from "./destroy.js";
import {
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VEVENTQ_FLAG_LOST_EVENTS,
  IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
  IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
  iommu_vevent_arm_smmuv3,
  iommu_vevent_tegra241_cmdqv,
  iommu_veventq_alloc,
  iommufd_vevent_header,
} from "./uapi-viommu.js";
import type { Viommu } from "./viommu.js";

/** Options of {@link Viommu.allocVeventq}. */
export interface VeventqOptions {
  /** enum iommu_veventq_type */
  readonly type: number;
  /** Events the kernel keeps for a slow reader, 1 to 2^19. */
  readonly depth: number;
  /** Length of one event's data; known for the types of Linux 7.3. */
  readonly eventBytes?: number | undefined;
}

/** An event for the guest, or the news that some were lost. */
export type Vevent =
  | {
      /** An event. */
      readonly kind: "event";
      /** Counts up by one from 0 to 2^31-1 and starts again; a gap means lost events. */
      readonly sequence: number;
      /** In the form of the queue's type, e.g. 32 bytes of an SMMUv3 event record. */
      readonly data: Uint8Array;
    }
  | {
      /** The queue was full, and events were lost. */
      readonly kind: "lost";
      /** Counts on from the last event. */
      readonly sequence: number;
    };

const knownSizes: Readonly<Record<number, number>> = {
  [IOMMU_VEVENTQ_TYPE_ARM_SMMUV3]: iommu_vevent_arm_smmuv3.sizeBytes,
  [IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV]: iommu_vevent_tegra241_cmdqv.sizeBytes,
};

const MAX_DEPTH = 2 ** 19;
const EVENTS_PER_READ = 64;

/** Events that an IOMMU reports for a guest. `for await (const event of queue)` takes them as they come. */
export class Veventq extends Resource {
  private readonly buffer: Uint8Array;

  private constructor(
    /** The virtual IOMMU whose events the queue has. */
    readonly viommu: Viommu,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** Where events are read; owned by this object. */
    readonly fd: number,
    private readonly eventBytes: number,
  ) {
    const iommufdFd = viommu.iommufd.fd;
    const label = `veventq ${id} of ${viommu.iommufd.lease.label}`;
    const release = closingAndDestroying(closing(fd), destroying(iommufdFd, id, label));
    super({ label, release, parents: [viommu] });
    this.buffer = new Uint8Array(EVENTS_PER_READ * (iommufd_vevent_header.sizeBytes + eventBytes));
  }

  /** See {@link Viommu.allocVeventq}. */
  static alloc(viommu: Viommu, options: VeventqOptions): Veventq {
    checkU32("type", options.type);
    checkInteger("depth", options.depth, 1, MAX_DEPTH);
    const eventBytes = options.eventBytes ?? knownSizes[options.type];
    if (eventBytes === undefined) throw new ArgumentError(`events of type ${options.type} need eventBytes`);
    checkInteger("eventBytes", eventBytes, 0, 4096);
    const request = iommu_veventq_alloc.encode({
      viommu_id: viommu.id,
      type: options.type,
      veventq_depth: options.depth,
    });
    call(viommu.iommufd.fd, IOMMU_VEVENTQ_ALLOC, request, { object: viommu.lease.label });
    const { out_veventq_id, out_veventq_fd } = iommu_veventq_alloc.decode(request);
    return new Veventq(viommu, out_veventq_id, adopt(out_veventq_fd), eventBytes);
  }

  /**
   * Takes the events there are now, without waiting. Empty where there are none.
   * @throws ClosedError, SysError: EINVAL where eventBytes is far too small, StateError where it doesn't fit
   */
  take(): Vevent[] {
    this.lease.assertOpen();
    // Nothing there is 0 bytes on this descriptor, not end of file.
    const count = read(this.fd, this.buffer, { object: this.lease.label }) ?? 0;
    const events: Vevent[] = [];
    for (let at = 0; at < count; ) {
      if (at + iommufd_vevent_header.sizeBytes > count) throw this.sizeError(count);
      const { flags, sequence } = iommufd_vevent_header.decode(this.buffer, at);
      at += iommufd_vevent_header.sizeBytes;
      if ((flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS) !== 0) {
        // Comes without data, as the last of a full queue.
        events.push({ kind: "lost", sequence });
        continue;
      }
      if (at + this.eventBytes > count) throw this.sizeError(count);
      events.push({ kind: "event", sequence, data: this.buffer.slice(at, at + this.eventBytes) });
      at += this.eventBytes;
    }
    return events;
  }

  /** Events don't tell their size: where it was given wrongly, what follows the first one is not to be understood. */
  private sizeError(count: number): StateError {
    return new StateError(
      `${this.lease.label} delivered ${count} bytes, which are no events of ${this.eventBytes}: eventBytes is wrong`,
    );
  }

  /** Events as they come. Ends when the queue is closed. @throws ArgumentError */
  values(options?: ListenOptions): AsyncIterableIterator<Vevent> {
    return new EventStream(this.fd, this.lease, () => this.take(), options);
  }

  /** values() without options, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Vevent> {
    return this.values();
  }
}
