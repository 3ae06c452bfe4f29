import { errnoName } from "../../src/core/errno.js";
import { SysError } from "../../src/core/errors.js";
import { destroying } from "../../src/iommufd/destroy.js";
import { type IoctlRequest, tryIoctl } from "../../src/sys/ioctl.js";

/**
 * What the kernel itself says to a request that our API would refuse, or can't even express.
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

/** The errno's name of the SysError that a call ends with, or "ok". */
export function sysAnswer(call: () => unknown): string {
  try {
    call();
    return "ok";
  } catch (error) {
    if (error instanceof SysError) return error.code;
    throw error;
  }
}

/** IOMMU_DESTROY behind the back of the object that owns the id: for asking whether the kernel would. */
export function destroyAnswer(fd: number, id: number): string {
  return sysAnswer(() => destroying(fd, id, `object ${id}`).now());
}
