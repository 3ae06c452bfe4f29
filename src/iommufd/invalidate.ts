/** Invalidates an IOMMU's caches (IOMMU_HWPT_INVALIDATE). */
import { Errno, errnoName } from "../core/errno.js";
import { SysError } from "../core/errors.js";
import { hintOf } from "../core/hints.js";
import { tryIoctl } from "../sys/ioctl.js";
import { addressOf, keepAlive } from "../sys/libc.js";
import { callError } from "./call.js";
import { entryCount, type InvalidationData } from "./driver-data.js";
import { IOMMU_HWPT_INVALIDATE, iommu_hwpt_invalidate } from "./uapi-hwpt.js";

/** An invalidation that failed after some of its requests. */
export class InvalidationError extends SysError {
  constructor(
    errno: number,
    object: string,
    /** Requests that were completed before the one that failed. */
    readonly handled: number,
  ) {
    const { name } = IOMMU_HWPT_INVALIDATE;
    const why = hintOf(name, errnoName(errno));
    const progress = `${handled} requests were carried out`;
    super(name, errno, { object, hint: why === undefined ? progress : `${why}; ${progress}` });
  }
}

/**
 * IOMMU_HWPT_INVALIDATE on a nested page table or a vIOMMU. Without entries it checks whether the kernel knows the type.
 * @throws InvalidationError, UnsupportedError, ArgumentError
 */
export function invalidate(fd: number, id: number, label: string, data: InvalidationData): void {
  const count = entryCount(data);
  const request = iommu_hwpt_invalidate.encode({
    hwpt_id: id,
    data_uptr: data.bytes.length === 0 ? 0n : BigInt(addressOf(data.bytes)),
    data_type: data.type,
    entry_len: data.entryBytes,
    entry_num: count,
  });
  const result = tryIoctl(fd, IOMMU_HWPT_INVALIDATE, request);
  keepAlive(data.bytes);
  if (result >= 0) return;
  if (result === -Errno.ENOTTY || result === -Errno.E2BIG)
    throw callError(IOMMU_HWPT_INVALIDATE, result, { object: label });
  throw new InvalidationError(-result, label, iommu_hwpt_invalidate.get(request, "entry_num"));
}
