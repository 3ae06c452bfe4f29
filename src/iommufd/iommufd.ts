import { SysError } from "../sys/errors.js";
import { ioctl } from "../sys/ioctl.js";
import { Lease, Resource } from "../sys/resource.js";
import { close, O_RDWR, open } from "../sys/syscalls.js";
import { Ioas } from "./ioas.js";
import {
  IOMMU_OPTION,
  IOMMU_OPTION_OP_GET,
  IOMMU_OPTION_OP_SET,
  IOMMU_OPTION_RLIMIT_MODE,
  iommu_option,
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

  private constructor(fd: number, path: string) {
    super(new Lease(path, () => close(fd)));
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

  /** IOMMU_IOAS_ALLOC: a new, empty I/O address space. @throws ClosedError, SysError */
  allocIoas(): Ioas {
    this.lease.assertOpen();
    return Ioas.alloc(this);
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
    ioctl(this.fd, IOMMU_OPTION, request, {
      object: objectId === 0 ? this.lease.label : `object ${objectId}`,
    });
    return iommu_option.decode(request).val64;
  }
}
