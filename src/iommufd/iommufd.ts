/** The iommufd (/dev/iommu), which allocates all other objects. */
import { checkInteger, checkString, checkU32 } from "../core/check.js";
import { Errno, errnoName } from "../core/errno.js";
import { ArgumentError, SysError } from "../core/errors.js";
import { NODE_PERMISSION } from "../core/hints.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { tryIoctl } from "../sys/ioctl.js";
import { closing, O_RDWR, open } from "../sys/syscalls.js";
import { call, callError } from "./call.js";
import { type IommufdCapabilities, probeIommufd } from "./capabilities.js";
import { type BoundDevice, checkBoundDevice } from "./device-ref.js";
import { FaultQueue } from "./fault-queue.js";
import { type HwInfo, readHwInfo } from "./hw-info.js";
import { Ioas } from "./ioas.js";
import {
  IOMMU_IOAS_CHANGE_PROCESS,
  IOMMU_OPTION,
  IOMMU_OPTION_OP_GET,
  IOMMU_OPTION_OP_SET,
  IOMMU_OPTION_RLIMIT_MODE,
  IOMMU_VFIO_IOAS,
  IOMMU_VFIO_IOAS_CLEAR,
  IOMMU_VFIO_IOAS_GET,
  IOMMU_VFIO_IOAS_SET,
  iommu_ioas_change_process,
  iommu_option,
  iommu_vfio_ioas,
} from "./uapi.js";

export const IOMMUFD_PATH = "/dev/iommu";

const openHints: Readonly<Record<string, string>> = {
  ENOENT: "this kernel has no iommufd: load the module iommufd, or use a kernel with CONFIG_IOMMUFD",
  EACCES: NODE_PERMISSION,
  ENODEV: "load the module iommufd",
};

/** The account that pinned memory counts against, for RLIMIT_MEMLOCK (IOMMU_OPTION_RLIMIT_MODE). */
export type RlimitMode = "user" | "process";

/**
 * An open /dev/iommu, the root of all iommufd objects. close() first closes its attachments, address spaces and bound
 * devices.
 */
export class Iommufd extends Resource {
  /** The descriptor; owned by this object. */
  readonly fd: number;
  private known: IommufdCapabilities | undefined;

  private constructor(fd: number, label: string) {
    super({ label, release: closing(fd) });
    this.fd = fd;
  }

  /** @throws SysError: ENOENT if the kernel has no iommufd, EACCES without permission on the node */
  static open(path: string = IOMMUFD_PATH): Iommufd {
    checkString("path", path);
    try {
      return new Iommufd(open(path, O_RDWR), path);
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint: openHints[error.code] }) : error;
    }
  }

  /**
   * An iommufd that another process opened, inherited or passed over a socket. The result owns the descriptor; if this
   * throws, the caller keeps it. Kernel objects of other holders exist until the last descriptor is closed; only
   * {@link ioas} can refer to them.
   * @throws ArgumentError if the descriptor is closed, or isn't an iommufd
   */
  static fromFd(fd: number): Iommufd {
    const result = probe(fd);
    if (result < 0) {
      throw new ArgumentError(`descriptor ${fd} is not an iommufd (IOMMU_OPTION: ${errnoName(-result)})`);
    }
    return new Iommufd(fd, `iommufd of descriptor ${fd}`);
  }

  /**
   * Whether a descriptor is an iommufd. A VfioContainer's is one in a kernel with CONFIG_IOMMUFD_VFIO_CONTAINER; such a
   * container can't track dirty pages or map BARs.
   * @throws ArgumentError if `fd` can't be a descriptor
   */
  static isIommufd(fd: number): boolean {
    return probe(fd) >= 0;
  }

  /** IOMMU_IOAS_ALLOC: a new, empty I/O address space. @throws ClosedError, SysError */
  allocIoas(): Ioas {
    this.lease.assertOpen();
    return Ioas.alloc(this);
  }

  /**
   * An address space of another holder of the descriptor ({@link fromFd}), or of the kernel for VFIO requests
   * ({@link vfioIoasId}). Closing the result doesn't destroy it.
   * @throws ArgumentError if no address space has this id, ClosedError
   */
  ioas(id: number): Ioas {
    this.lease.assertOpen();
    return Ioas.borrow(this, checkU32("id", id));
  }

  /** IOMMU_FAULT_QUEUE_ALLOC: a queue for I/O page faults. @throws ClosedError, UnsupportedError, SysError */
  allocFaultQueue(): FaultQueue {
    this.lease.assertOpen();
    return FaultQueue.alloc(this);
  }

  /**
   * IOMMU_GET_HW_INFO: type and abilities of a bound device's IOMMU.
   * @param type requested kind of information (IOMMU_HW_INFO_TYPE_*); the IOMMU's own by default
   * @throws ArgumentError (bound elsewhere), ClosedError, UnsupportedError, SysError
   */
  hwInfo(device: BoundDevice, type?: number): HwInfo {
    this.lease.assertOpen();
    checkBoundDevice(device);
    if (device.iommufd !== this)
      throw new ArgumentError(`${device.lease.label} is not bound to this iommufd`);
    return readHwInfo(device, type);
  }

  /** Requests that this kernel's iommufd supports; cached. @throws ClosedError */
  capabilities(): IommufdCapabilities {
    this.lease.assertOpen();
    this.known ??= probeIommufd(this.fd);
    return this.known;
  }

  /**
   * IOMMU_VFIO_IOAS: id of the address space for VFIO container requests on this descriptor; undefined if there is none.
   * @throws ClosedError, SysError
   */
  get vfioIoasId(): number | undefined {
    this.lease.assertOpen();
    const request = iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_GET });
    const result = tryIoctl(this.fd, IOMMU_VFIO_IOAS, request);
    if (result === -Errno.ENODEV) return undefined;
    if (result < 0) throw callError(IOMMU_VFIO_IOAS, result, { object: this.lease.label });
    return iommu_vfio_ioas.decode(request).ioas_id;
  }

  /** Sets the address space of {@link vfioIoasId}; undefined clears it. @throws ArgumentError, ClosedError, SysError */
  setVfioIoas(ioas: Ioas | undefined): void {
    this.lease.assertOpen();
    if (ioas !== undefined) checkLeased("ioas", ioas, "an Ioas", { id: "number" });
    if (ioas !== undefined && ioas.iommufd !== this) {
      throw new ArgumentError(`${ioas.lease.label} belongs to another iommufd`);
    }
    ioas?.lease.assertOpen();
    const request =
      ioas === undefined
        ? iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_CLEAR })
        : iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_SET, ioas_id: ioas.id });
    call(this.fd, IOMMU_VFIO_IOAS, request, { object: this.lease.label });
  }

  /**
   * IOMMU_IOAS_CHANGE_PROCESS: charges all mappings to this process, or fails. For a descriptor inherited from another
   * process.
   * @throws ClosedError, UnsupportedError, SysError: EINVAL if anything but memfds is mapped, ENOMEM
   */
  changeProcess(): void {
    this.lease.assertOpen();
    call(this.fd, IOMMU_IOAS_CHANGE_PROCESS, iommu_ioas_change_process.encode({}), {
      object: this.lease.label,
    });
  }

  /**
   * IOMMU_OPTION_RLIMIT_MODE. `user` (the kernel's default): all processes of a user share one account.
   * @throws ClosedError, SysError
   */
  get rlimitMode(): RlimitMode {
    return this.option(IOMMU_OPTION_OP_GET, IOMMU_OPTION_RLIMIT_MODE, 0, 0n) === 0n ? "user" : "process";
  }

  /** @throws SysError: EPERM without CAP_SYS_RESOURCE, EBUSY if any object exists */
  set rlimitMode(mode: RlimitMode) {
    this.option(IOMMU_OPTION_OP_SET, IOMMU_OPTION_RLIMIT_MODE, 0, mode === "user" ? 0n : 1n);
  }

  /** IOMMU_OPTION with any option. @returns val64 @throws ClosedError, SysError */
  option(op: number, optionId: number, objectId: number, value: bigint): bigint {
    this.lease.assertOpen();
    const request = iommu_option.encode({ option_id: optionId, op, object_id: objectId, val64: value });
    call(this.fd, IOMMU_OPTION, request, {
      object: objectId === 0 ? this.lease.label : `object ${objectId}`,
    });
    return iommu_option.decode(request).val64;
  }
}

/** Reads an option: this changes nothing, and only an iommufd supports it. */
function probe(fd: number): number {
  checkInteger("fd", fd, 0, 0x7fff_ffff);
  const request = iommu_option.encode({ option_id: IOMMU_OPTION_RLIMIT_MODE, op: IOMMU_OPTION_OP_GET });
  return tryIoctl(fd, IOMMU_OPTION, request);
}
