/** Sends requests to /dev/iommu without the library's checks. */
import { errnoName } from "../../src/core/errno.js";
import { SysError } from "../../src/core/errors.js";
import { destroying } from "../../src/iommufd/destroy.js";
import { type IoctlRequest, tryIoctl } from "../../src/sys/ioctl.js";

/**
 * The kernel's answer to a request that the API would reject, or can't express.
 * @returns "ok" or the errno's name
 */
export function kernelAnswer(
  fd: number,
  request: IoctlRequest,
  argument: NodeJS.ArrayBufferView | null,
): string {
  const result = tryIoctl(fd, request, argument);
  return result < 0 ? errnoName(-result) : "ok";
}

/** The errno's name of the SysError that a call throws, or "ok". */
export function sysAnswer(call: () => unknown): string {
  try {
    call();
    return "ok";
  } catch (error) {
    if (error instanceof SysError) return error.code;
    throw error;
  }
}

/** IOMMU_DESTROY without telling the object that owns the id: tests whether the kernel allows it. */
export function destroyAnswer(fd: number, id: number): string {
  return sysAnswer(() => destroying(fd, id, `object ${id}`).now());
}
