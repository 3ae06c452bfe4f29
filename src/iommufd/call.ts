/** Makes iommufd requests, and explains errors about requests that the kernel lacks. */
import { Errno } from "../core/errno.js";
import { SysError, type SysErrorContext, UnsupportedError } from "../core/errors.js";
import { type IoctlRequest, tryIoctl } from "../sys/ioctl.js";

/**
 * An ioctl on an iommufd. ENOTTY means that the kernel doesn't know the request, E2BIG that it doesn't know a field that is
 * set. In both cases the kernel is too old.
 * @throws UnsupportedError with the request's name and, if known, the first kernel that has it; SysError
 */
export function call(
  fd: number,
  request: IoctlRequest,
  argument: NodeJS.ArrayBufferView,
  context: SysErrorContext = {},
): void {
  const result = tryIoctl(fd, request, argument);
  if (result < 0) throw callError(request, result, context);
}

/** The error for a negative result of tryIoctl() on an iommufd. */
export function callError(request: IoctlRequest, result: number, context: SysErrorContext): Error {
  const cause = new SysError(request.name, -result, context);
  if (result === -Errno.ENOTTY) {
    const since = request.since === undefined ? "" : `: it needs Linux ${request.since}`;
    return new UnsupportedError(`this kernel has no ${request.name}${since}`, { cause });
  }
  if (result === -Errno.E2BIG) {
    return new UnsupportedError(`this kernel's ${request.name} lacks a requested option`, {
      cause,
    });
  }
  return cause;
}
