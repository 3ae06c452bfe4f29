/** The iommufd itself: /dev/iommu, and the objects that are made from it. */
import { checkInteger, checkU32 } from "../core/check.js";
import { Errno, errnoName } from "../core/errno.js";
import { ArgumentError, SysError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { tryIoctl } from "../sys/ioctl.js";
import { closing, O_RDWR, open } from "../sys/syscalls.js";
import { call, callError } from "./call.js";
import { type IommufdCapabilities, probeIommufd } from "./capabilities.js";
import type { BoundDevice } from "./device-ref.js";
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
  ENOENT: "this kernel has no iommufd: CONFIG_IOMMUFD is off or the module is not loaded",
  EACCES: "give this user read and write permission on it",
  ENODEV: "the iommufd module is not loaded",
};

/** How pinned memory is counted against RLIMIT_MEMLOCK (IOMMU_OPTION_RLIMIT_MODE). */
export type RlimitMode = "user" | "process";

/**
 * An open /dev/iommu: the root of all iommufd objects. Closing it closes what hangs on it first: attachments,
 * address spaces, bound devices.
 */
export class Iommufd extends Resource {
  /** The descriptor; owned by this object. */
  readonly fd: number;
  private known: IommufdCapabilities | undefined;

  private constructor(fd: number, label: string) {
    super({ label, release: closing(fd) });
    this.fd = fd;
  }

  /** @throws SysError: ENOENT where the kernel has no iommufd, EACCES without permission on the node */
  static open(path: string = IOMMUFD_PATH): Iommufd {
    try {
      return new Iommufd(open(path, O_RDWR), path);
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint: openHints[error.code] }) : error;
    }
  }

  /**
   * An iommufd that another process opened: inherited, or passed over a socket. The object owns the descriptor from
   * here on; where this throws, the caller still does. Objects that other holders of the descriptor made live on in the
   * kernel until the last descriptor is closed, and have no object here.
   * @throws ArgumentError where the descriptor is not open or no iommufd
   */
  static fromFd(fd: number): Iommufd {
    const result = probe(fd);
    if (result < 0) {
      throw new ArgumentError(`descriptor ${fd} is no iommufd (IOMMU_OPTION: ${errnoName(-result)})`);
    }
    return new Iommufd(fd, `iommufd of descriptor ${fd}`);
  }

  /**
   * Whether an iommufd stands behind a descriptor: also behind that of a VfioContainer in a kernel whose /dev/vfio/vfio
   * is iommufd's (CONFIG_IOMMUFD_VFIO_CONTAINER), which knows no dirty pages and maps no BARs.
   * @throws ArgumentError where it can't be a descriptor
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
   * An address space that was not made through this object: by another holder of the descriptor ({@link fromFd}), or by
   * the kernel for VFIO requests ({@link vfioIoasId}). Closing the result leaves it as it is.
   * @throws ArgumentError where there is none of that id, ClosedError
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
   * IOMMU_GET_HW_INFO: what the IOMMU behind a bound device is and can do.
   * @param type the kind of information wanted (IOMMU_HW_INFO_TYPE_*); left out, the IOMMU's own
   * @throws ArgumentError (bound elsewhere), ClosedError, UnsupportedError, SysError
   */
  hwInfo(device: BoundDevice, type?: number): HwInfo {
    this.lease.assertOpen();
    if (device.iommufd !== this)
      throw new ArgumentError(`${device.lease.label} is not bound to this iommufd`);
    return readHwInfo(device, type);
  }

  /** What this kernel's iommufd has; asked once. @throws ClosedError */
  capabilities(): IommufdCapabilities {
    this.lease.assertOpen();
    this.known ??= probeIommufd(this.fd);
    return this.known;
  }

  /**
   * IOMMU_VFIO_IOAS: id of the address space that answers VFIO container requests on this descriptor; undefined
   * where there is none. @throws ClosedError, SysError
   */
  get vfioIoasId(): number | undefined {
    this.lease.assertOpen();
    const request = iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_GET });
    const result = tryIoctl(this.fd, IOMMU_VFIO_IOAS, request);
    if (result === -Errno.ENODEV) return undefined;
    if (result < 0) throw callError(IOMMU_VFIO_IOAS, result, { object: this.lease.label });
    return iommu_vfio_ioas.decode(request).ioas_id;
  }

  /** Chooses that address space; undefined takes it away. @throws ArgumentError, ClosedError, SysError */
  setVfioIoas(ioas: Ioas | undefined): void {
    this.lease.assertOpen();
    if (ioas !== undefined && ioas.iommufd !== this) {
      throw new ArgumentError(`${ioas.lease.label} is of another iommufd`);
    }
    ioas?.lease.assertOpen();
    const request =
      ioas === undefined
        ? iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_CLEAR })
        : iommu_vfio_ioas.encode({ op: IOMMU_VFIO_IOAS_SET, ioas_id: ioas.id });
    call(this.fd, IOMMU_VFIO_IOAS, request, { object: this.lease.label });
  }

  /**
   * IOMMU_IOAS_CHANGE_PROCESS: from now on this process is the one whose memory is counted. For a descriptor inherited
   * from another process; all or nothing.
   * @throws ClosedError, UnsupportedError, SysError: EINVAL where anything but a memfd is mapped, ENOMEM
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

  /** @throws SysError: EPERM without CAP_SYS_RESOURCE, EBUSY once any object exists */
  set rlimitMode(mode: RlimitMode) {
    this.option(IOMMU_OPTION_OP_SET, IOMMU_OPTION_RLIMIT_MODE, 0, mode === "user" ? 0n : 1n);
  }

  /** IOMMU_OPTION as it is; returns val64. @throws ClosedError, SysError */
  option(op: number, optionId: number, objectId: number, value: bigint): bigint {
    this.lease.assertOpen();
    const request = iommu_option.encode({ option_id: optionId, op, object_id: objectId, val64: value });
    call(this.fd, IOMMU_OPTION, request, {
      object: objectId === 0 ? this.lease.label : `object ${objectId}`,
    });
    return iommu_option.decode(request).val64;
  }
}

/** Asking for an option changes nothing, and nothing but an iommufd answers. */
function probe(fd: number): number {
  checkInteger("fd", fd, 0, 0x7fff_ffff);
  const request = iommu_option.encode({ option_id: IOMMU_OPTION_RLIMIT_MODE, op: IOMMU_OPTION_OP_GET });
  return tryIoctl(fd, IOMMU_OPTION, request);
}
