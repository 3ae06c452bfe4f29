/** Destroys iommufd objects (IOMMU_DESTROY). */
import type { Release } from "../core/lifetime/lease.js";
import { tryIoctl, tryIoctlAsync } from "../sys/ioctl.js";
import { callError } from "./call.js";
import { IOMMU_DESTROY, iommu_destroy } from "./uapi.js";

/** Destroys an object when its lease ends. IOMMU_DESTROY may wait up to 60 s for short-term users of the object. */
export function destroying(fd: number, id: number, label: string): Release {
  return {
    now: () => check(tryIoctl(fd, IOMMU_DESTROY, iommu_destroy.encode({ id })), label),
    later: async () => check(await tryIoctlAsync(fd, IOMMU_DESTROY, iommu_destroy.encode({ id })), label),
    retryable: true,
  };
}

/** The same for an object with a descriptor that holds it. The descriptor closes first, and can't be reopened. */
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
