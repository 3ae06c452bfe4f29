/** Event queues of a vIOMMU (IOMMU_VEVENTQ_ALLOC). */
import { checkInteger, checkKeys, checkU32 } from "../core/check.js";
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
  /** Most events that the kernel keeps for a slow reader, 1 to 2^19. */
  readonly depth: number;
  /** Bytes of one event's data. Not needed for the types of Linux 7.3. */
  readonly eventBytes?: number | undefined;
}

/** An event for the guest, or the report that events were lost. */
export type Vevent =
  | {
      /** An event. */
      readonly kind: "event";
      /** Increments from 0 to 2^31-1, then restarts at 0. A gap means lost events. */
      readonly sequence: number;
      /** Data in the format of the queue's type, e.g. an SMMUv3 event record of 32 bytes. */
      readonly data: Uint8Array;
    }
  | {
      /** The queue was full, and events were lost. */
      readonly kind: "lost";
      /** Continues the count of the last event. */
      readonly sequence: number;
    };

const knownSizes: Readonly<Record<number, number>> = {
  [IOMMU_VEVENTQ_TYPE_ARM_SMMUV3]: iommu_vevent_arm_smmuv3.sizeBytes,
  [IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV]: iommu_vevent_tegra241_cmdqv.sizeBytes,
};

const MAX_DEPTH = 2 ** 19;
const EVENTS_PER_READ = 64;

/** Events that an IOMMU reports for a guest. `for await (const event of queue)` takes them as they arrive. */
export class Veventq extends Resource {
  private readonly buffer: Uint8Array;

  private constructor(
    /** The virtual IOMMU of the events. */
    readonly viommu: Viommu,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** The descriptor for events; owned by this object. */
    readonly fd: number,
    private readonly eventBytes: number,
  ) {
    const iommufdFd = viommu.iommufd.fd;
    const label = `veventq ${id} of ${viommu.iommufd.lease.label}`;
    const release = closingAndDestroying(closing(fd), destroying(iommufdFd, id, label));
    super({ label, release, parents: [viommu] });
    this.buffer = new Uint8Array(EVENTS_PER_READ * (iommufd_vevent_header.sizeBytes + eventBytes));
  }

  /**
   * See {@link Viommu.allocVeventq}.
   * @internal
   */
  static alloc(viommu: Viommu, options: VeventqOptions): Veventq {
    checkKeys("options", options, ["type", "depth", "eventBytes"]);
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
   * Takes the pending events without waiting; possibly none.
   * @throws ClosedError, SysError (EINVAL: eventBytes is far too small), StateError (eventBytes is wrong)
   */
  take(): Vevent[] {
    this.lease.assertOpen();
    // 0 bytes mean an empty queue on this descriptor, not end of file.
    const count = read(this.fd, this.buffer, { object: this.lease.label }) ?? 0;
    const events: Vevent[] = [];
    for (let at = 0; at < count; ) {
      if (at + iommufd_vevent_header.sizeBytes > count) throw this.sizeError(count);
      const { flags, sequence } = iommufd_vevent_header.decode(this.buffer, at);
      at += iommufd_vevent_header.sizeBytes;
      if ((flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS) !== 0) {
        // This record has no data, and is the last one of a full queue.
        events.push({ kind: "lost", sequence });
        continue;
      }
      if (at + this.eventBytes > count) throw this.sizeError(count);
      events.push({ kind: "event", sequence, data: this.buffer.slice(at, at + this.eventBytes) });
      at += this.eventBytes;
    }
    return events;
  }

  /** Events don't contain their size. If eventBytes is wrong, records after the first can't be parsed. */
  private sizeError(count: number): StateError {
    return new StateError(
      `${this.lease.label} delivered ${count} bytes, which aren't events of ${this.eventBytes} bytes: correct eventBytes`,
    );
  }

  /** The events as they arrive. Ends when the queue is closed. @throws ArgumentError */
  values(options?: ListenOptions): AsyncIterableIterator<Vevent> {
    return new EventStream(this.fd, this.lease, () => this.take(), options);
  }

  /** values() without options, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Vevent> {
    return this.values();
  }
}
