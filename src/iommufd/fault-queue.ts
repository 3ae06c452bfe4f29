/** I/O page faults (IOMMU_FAULT_QUEUE_ALLOC). */
import { StateError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import type { ListenOptions } from "../core/listeners.js";
import { adopt } from "../sys/descriptors.js";
import { EventStream } from "../sys/event-stream.js";
import { closing, read, write } from "../sys/syscalls.js";
import { call } from "./call.js";
import { closingAndDestroying, destroying } from "./destroy.js";
import type { Iommufd } from "./iommufd.js";
import {
  IOMMU_FAULT_QUEUE_ALLOC,
  IOMMU_PGFAULT_FLAGS_LAST_PAGE,
  IOMMU_PGFAULT_FLAGS_PASID_VALID,
  IOMMU_PGFAULT_PERM_EXEC,
  IOMMU_PGFAULT_PERM_PRIV,
  IOMMU_PGFAULT_PERM_READ,
  IOMMU_PGFAULT_PERM_WRITE,
  IOMMUFD_PAGE_RESP_INVALID,
  IOMMUFD_PAGE_RESP_SUCCESS,
  iommu_fault_alloc,
  iommu_hwpt_page_response,
  iommu_hwpt_pgfault,
} from "./uapi-fault.js";

/** One page that a device wanted and the IOMMU didn't find. */
export interface PageRequest {
  /** Address that faulted, in the device's view. */
  readonly address: bigint;
  /** A hint of how much around it will be wanted; 0 where there is none. */
  readonly lengthBytes: number;
  /** The device wants to read the page. */
  readonly read: boolean;
  /** The device wants to write the page. */
  readonly write: boolean;
  /** The device wants to execute the page ("Execute Requested" of the PASID prefix). */
  readonly execute: boolean;
  /** The request is privileged ("Privileged Mode Requested" of the PASID prefix). */
  readonly privileged: boolean;
}

/** What the device is told: try again, or give up. */
export type PageResponse = "success" | "invalid";

const codes: Readonly<Record<PageResponse, number>> = {
  success: IOMMUFD_PAGE_RESP_SUCCESS,
  invalid: IOMMUFD_PAGE_RESP_INVALID,
};

/** The requests that a device sent together, and that one response answers. */
export class PageRequestGroup {
  private answered = false;

  constructor(
    private readonly queue: FaultQueue,
    /** The device's object id in the iommufd. */
    readonly deviceId: number,
    /** Process address space id; undefined for the device's own requests. */
    readonly pasid: number | undefined,
    /** Page request group index. */
    readonly groupId: number,
    /** The group's requests, in the order in which they came. */
    readonly requests: readonly PageRequest[],
    private readonly cookie: number,
  ) {}

  /** Answers the group, once. The device waits until then. @throws StateError, ClosedError, SysError */
  respond(response: PageResponse): void {
    if (this.answered) throw new StateError(`page request group ${this.groupId} has been answered`);
    this.queue.respond(this.cookie, response);
    this.answered = true;
  }
}

/** Records taken by one read. A group is never split: the kernel hands out whole groups or none. */
const RECORDS_PER_READ = 512;

/** An I/O page fault queue. `for await (const group of queue)` takes the groups as they come. */
export class FaultQueue extends Resource {
  private readonly buffer = new Uint8Array(RECORDS_PER_READ * iommu_hwpt_pgfault.sizeBytes);

  private constructor(
    /** The iommufd this object lives in. */
    readonly iommufd: Iommufd,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** Where faults are read and responses written; owned by this object. */
    readonly fd: number,
  ) {
    const iommufdFd = iommufd.fd;
    const label = `fault queue ${id} of ${iommufd.lease.label}`;
    const release = closingAndDestroying(closing(fd), destroying(iommufdFd, id, label));
    super({ label, release, parents: [iommufd] });
  }

  /** See {@link Iommufd.allocFaultQueue}. */
  static alloc(iommufd: Iommufd): FaultQueue {
    const request = iommu_fault_alloc.encode({});
    call(iommufd.fd, IOMMU_FAULT_QUEUE_ALLOC, request, { object: iommufd.lease.label });
    const { out_fault_id, out_fault_fd } = iommu_fault_alloc.decode(request);
    return new FaultQueue(iommufd, out_fault_id, adopt(out_fault_fd));
  }

  /** Takes the groups there are now, without waiting. Empty where there are none. @throws ClosedError, SysError */
  take(): PageRequestGroup[] {
    this.lease.assertOpen();
    // Nothing there is 0 bytes on this descriptor, not end of file.
    const count = read(this.fd, this.buffer, { object: this.lease.label }) ?? 0;
    const groups: PageRequestGroup[] = [];
    let requests: PageRequest[] = [];
    for (let at = 0; at < count; at += iommu_hwpt_pgfault.sizeBytes) {
      const fault = iommu_hwpt_pgfault.decode(this.buffer, at);
      requests.push({
        address: fault.addr,
        lengthBytes: fault.length,
        read: (fault.perm & IOMMU_PGFAULT_PERM_READ) !== 0,
        write: (fault.perm & IOMMU_PGFAULT_PERM_WRITE) !== 0,
        execute: (fault.perm & IOMMU_PGFAULT_PERM_EXEC) !== 0,
        privileged: (fault.perm & IOMMU_PGFAULT_PERM_PRIV) !== 0,
      });
      if ((fault.flags & IOMMU_PGFAULT_FLAGS_LAST_PAGE) === 0) continue;
      const pasid = (fault.flags & IOMMU_PGFAULT_FLAGS_PASID_VALID) === 0 ? undefined : fault.pasid;
      groups.push(new PageRequestGroup(this, fault.dev_id, pasid, fault.grpid, requests, fault.cookie));
      requests = [];
    }
    return groups;
  }

  /** Groups as they come. Ends when the queue is closed. @throws ArgumentError */
  values(options?: ListenOptions): AsyncIterableIterator<PageRequestGroup> {
    return new EventStream(this.fd, this.lease, () => this.take(), options);
  }

  /** values() without options, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<PageRequestGroup> {
    return this.values();
  }

  /** Answers a group by its cookie; see {@link PageRequestGroup.respond}. @throws ClosedError, SysError: EINVAL */
  respond(cookie: number, response: PageResponse): void {
    this.lease.assertOpen();
    write(this.fd, iommu_hwpt_page_response.encode({ cookie, code: codes[response] }), {
      object: this.lease.label,
    });
  }
}
