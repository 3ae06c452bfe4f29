/** I/O page faults (IOMMU_FAULT_QUEUE_ALLOC). */
import { lookUp } from "../core/check.js";
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

/** A device's request for a page that the IOMMU couldn't translate. */
export interface PageRequest {
  /** Faulting address, as the device sees it. */
  readonly address: bigint;
  /** A hint of how many bytes the device will need; 0 if there is none. */
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

/** Response to the device: retry (`success`), or give up (`invalid`). */
export type PageResponse = "success" | "invalid";

const codes: Readonly<Record<PageResponse, number>> = {
  success: IOMMUFD_PAGE_RESP_SUCCESS,
  invalid: IOMMUFD_PAGE_RESP_INVALID,
};

/** Requests that a device sent together. One response answers them. */
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
    /** The group's requests, in the order of arrival. */
    readonly requests: readonly PageRequest[],
    private readonly cookie: number,
  ) {}

  /** Answers the group. The device waits for it. @throws StateError (answered already), ClosedError, SysError */
  respond(response: PageResponse): void {
    if (this.answered) throw new StateError(`page request group ${this.groupId} has been answered already`);
    this.queue.respond(this.cookie, response);
    this.answered = true;
  }
}

/** Records per read. The kernel returns only whole groups. */
const RECORDS_PER_READ = 512;

/** An I/O page fault queue. `for await (const group of queue)` takes the groups as they arrive. */
export class FaultQueue extends Resource {
  private readonly buffer = new Uint8Array(RECORDS_PER_READ * iommu_hwpt_pgfault.sizeBytes);

  private constructor(
    /** The iommufd of this object. */
    readonly iommufd: Iommufd,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** The descriptor for faults and responses; owned by this object. */
    readonly fd: number,
  ) {
    const iommufdFd = iommufd.fd;
    const label = `fault queue ${id} of ${iommufd.lease.label}`;
    const release = closingAndDestroying(closing(fd), destroying(iommufdFd, id, label));
    super({ label, release, parents: [iommufd] });
  }

  /**
   * See {@link Iommufd.allocFaultQueue}.
   * @internal
   */
  static alloc(iommufd: Iommufd): FaultQueue {
    const request = iommu_fault_alloc.encode({});
    call(iommufd.fd, IOMMU_FAULT_QUEUE_ALLOC, request, { object: iommufd.lease.label });
    const { out_fault_id, out_fault_fd } = iommu_fault_alloc.decode(request);
    return new FaultQueue(iommufd, out_fault_id, adopt(out_fault_fd));
  }

  /** Takes the pending groups without waiting; possibly none. @throws ClosedError, SysError */
  take(): PageRequestGroup[] {
    this.lease.assertOpen();
    // 0 bytes mean an empty queue on this descriptor, not end of file.
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

  /** The groups as they arrive. Ends when the queue is closed. @throws ArgumentError */
  values(options?: ListenOptions): AsyncIterableIterator<PageRequestGroup> {
    return new EventStream(this.fd, this.lease, () => this.take(), options);
  }

  /** values() without options, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<PageRequestGroup> {
    return this.values();
  }

  /** Answers a group by its cookie; see {@link PageRequestGroup.respond}. @throws ArgumentError, ClosedError, SysError: EINVAL */
  respond(cookie: number, response: PageResponse): void {
    this.lease.assertOpen();
    const code = lookUp("response", response, codes);
    write(this.fd, iommu_hwpt_page_response.encode({ cookie, code }), { object: this.lease.label });
  }
}
