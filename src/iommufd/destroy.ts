/** Destroys iommufd objects (IOMMU_DESTROY). */
import type { Release } from "../core/lifetime/lease.js";
import { tryIoctl, tryIoctlAsync } from "../sys/ioctl.js";
import { callError } from "./call.js";
import { IOMMU_DESTROY, iommu_destroy } from "./uapi.js";

/** How a lease destroys an object: IOMMU_DESTROY, which may wait up to 60 s for short-term users of it. */
export function destroying(fd: number, id: number, label: string): Release {
  return {
    now: () => check(tryIoctl(fd, IOMMU_DESTROY, iommu_destroy.encode({ id })), label),
    later: async () => check(await tryIoctlAsync(fd, IOMMU_DESTROY, iommu_destroy.encode({ id })), label),
    retryable: true,
  };
}

/** The same for an object that its own open descriptor holds: that has to go first, and can't come back. */
export function closingAndDestroying(eventFd: Release, object: Release): Release {
  return {
    now: () => {
      eventFd.now();
      object.now();
    },
    later: async () => {
      await eventFd.later?.();
      await object.later?.();
    },
  };
}

function check(result: number, label: string): void {
  if (result < 0) throw callError(IOMMU_DESTROY, result, { object: label });
}
