/** Hot resets: they reset a slot or bus with all functions on it. */

import { checkArray, checkMembers } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { SysError, UnsupportedError } from "../core/errors.js";
import { hexDigits } from "../core/hex-digits.js";
import { tryIoctl, tryIoctlAsync } from "../sys/ioctl.js";
import { checkUsable, type FeatureTarget } from "./feature-target.js";
import {
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_PCI_DEVID_NOT_OWNED,
  VFIO_PCI_DEVID_OWNED,
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID,
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED,
  vfio_pci_dependent_device,
  vfio_pci_hot_reset,
  vfio_pci_hot_reset_info,
} from "./uapi.js";

/** A function that a hot reset affects. */
export interface AffectedDevice {
  /** domain:bus:device.function */
  readonly bdf: string;
  /** Its IOMMU group, if the device was opened through a group. */
  readonly group: number | undefined;
  /** Its object id, if it is bound to the same iommufd. */
  readonly deviceId: number | undefined;
  /** Whether the caller owns it, and so may reset it; undefined if groups decide (see {@link group}). */
  readonly owned: boolean | undefined;
}

/** VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. */
export interface HotResetInfo {
  /** The affected functions, including the device itself. */
  readonly devices: readonly AffectedDevice[];
  /** The caller owns all of them, so hotReset() can work. Undefined if groups decide. */
  readonly allOwned: boolean | undefined;
}

/**
 * Functions that a hot reset (of the slot or bus) affects.
 * @throws UnsupportedError if there is no such reset, as for devices on a root bus; SysError
 */
export function hotResetInfo(device: FeatureTarget): HotResetInfo {
  checkUsable(device);
  let count = 16;
  for (;;) {
    const request = vfio_pci_hot_reset_info.encode({}, count * vfio_pci_dependent_device.sizeBytes);
    const result = tryIoctl(device.fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, request);
    const answer = vfio_pci_hot_reset_info.decode(request);
    if (result === -Errno.ENOSPC) {
      count = answer.count;
      continue;
    }
    if (result === -Errno.EAGAIN) continue;
    if (result < 0) {
      const cause = new SysError(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.name, -result, {
        object: device.lease.label,
      });
      // ENOTTY: a mediated device, not a PCI function.
      if (result === -Errno.ENODEV || result === -Errno.ENOTTY) {
        throw noReset(device, cause);
      }
      throw cause;
    }
    const byDeviceId = (answer.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID) !== 0;
    return {
      devices: Array.from({ length: answer.count }, (_, i) => decode(request, i, byDeviceId)),
      allOwned: byDeviceId ? (answer.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED) !== 0 : undefined,
    };
  }
}

function decode(info: Uint8Array, index: number, byDeviceId: boolean): AffectedDevice {
  const at = vfio_pci_hot_reset_info.sizeBytes + index * vfio_pci_dependent_device.sizeBytes;
  const { group_id, segment, bus, devfn } = vfio_pci_dependent_device.decode(info, at);
  const id = group_id | 0;
  return {
    bdf: `${hexDigits(segment, 4)}:${hexDigits(bus, 2)}:${hexDigits(devfn >> 3, 2)}.${devfn & 7}`,
    group: byDeviceId ? undefined : group_id,
    deviceId: byDeviceId && id > 0 ? id : undefined,
    owned: byDeviceId
      ? id !== VFIO_PCI_DEVID_NOT_OWNED && (id > 0 || id === VFIO_PCI_DEVID_OWNED)
      : undefined,
  };
}

/**
 * VFIO_DEVICE_PCI_HOT_RESET: resets the slot or bus. It blocks the thread and can't be cut short. The kernel waits up to a
 * minute for the link and for each function that doesn't come back (PCIE_RESET_READY_POLL_MS in drivers/pci/pci.c).
 * @param groups all affected groups, for a device opened through a group; none for one opened by cdev
 * @throws UnsupportedError if there is no such reset; SysError: EINVAL if an affected device is not owned, EBUSY,
 *   EAGAIN, ENOTTY if a device doesn't come back
 */
export function hotReset(device: FeatureTarget, groups: readonly { readonly fd: number }[] = []): void {
  const request = requestFor(device, groups);
  check(device, tryIoctl(device.fd, VFIO_DEVICE_PCI_HOT_RESET, request));
}

/**
 * {@link hotReset} off the JavaScript thread. Don't access the affected devices meanwhile.
 * @throws as a rejection
 */
export async function hotResetAsync(
  device: FeatureTarget,
  groups: readonly { readonly fd: number }[] = [],
): Promise<void> {
  const request = requestFor(device, groups);
  await device.lease.during("a bus reset under way", async () =>
    check(device, await tryIoctlAsync(device.fd, VFIO_DEVICE_PCI_HOT_RESET, request)),
  );
}

function requestFor(device: FeatureTarget, groups: readonly { readonly fd: number }[]): Uint8Array {
  checkUsable(device);
  checkArray("groups", groups);
  for (const group of groups) checkMembers("group", group, "a VfioGroup", { fd: "number" });
  const fds = Int32Array.from(groups, ({ fd }) => fd);
  const request = vfio_pci_hot_reset.encode({ count: fds.length }, fds.byteLength);
  request.set(new Uint8Array(fds.buffer), vfio_pci_hot_reset.sizeBytes);
  return request;
}

function check(device: FeatureTarget, result: number): void {
  if (result >= 0) return;
  const cause = new SysError(VFIO_DEVICE_PCI_HOT_RESET.name, -result, { object: device.lease.label });
  if (result === -Errno.ENODEV) throw noReset(device, cause);
  throw cause;
}

function noReset(device: FeatureTarget, cause: SysError): UnsupportedError {
  return new UnsupportedError(`${device.lease.label} has neither a slot nor a bus reset`, { cause });
}
