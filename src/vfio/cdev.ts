/** VFIO character devices: /dev/vfio/devices/vfioN (Linux 6.6 and later with CONFIG_VFIO_DEVICE_CDEV). */
import { basename } from "node:path";
import { checkString } from "../core/check.js";
import { ArgumentError, SysError, UnsupportedError } from "../core/errors.js";
import { NODE_PERMISSION } from "../core/hints.js";
import { kernelNames } from "../sys/kernel-files.js";
import { O_RDWR, open } from "../sys/syscalls.js";
import { isUuid } from "./uuid.js";

/** A device's folder in sysfs: a PCI function by address, a mediated device by UUID. */
export function sysfsPath(name: string): string {
  return isUuid(name) ? `/sys/bus/mdev/devices/${name.toLowerCase()}` : `/sys/bus/pci/devices/${name}`;
}

/**
 * Path of a device's VFIO character device.
 * @param bdf `0000:00:03.0`, or the UUID of a mediated device
 * @throws ArgumentError (no such device), UnsupportedError (not bound to a VFIO driver, or a kernel without cdevs)
 */
export function cdevPath(bdf: string): string {
  checkString("bdf", bdf);
  const device = sysfsPath(bdf);
  const [node] = kernelNames(`${device}/vfio-dev`) ?? [];
  if (node !== undefined) return `/dev/vfio/devices/${node}`;
  const entries = kernelNames(device);
  if (entries === undefined) throw new ArgumentError(`there is no device ${bdf}`);
  if (isUuid(bdf))
    throw new UnsupportedError(
      `${bdf} has no VFIO character device: this kernel has no CONFIG_VFIO_DEVICE_CDEV, or no driver has it`,
    );
  throw new UnsupportedError(
    entries.includes("vfio-dev") || !entries.includes("driver")
      ? `${bdf} has no VFIO character device: it is not bound to vfio-pci (bind it: npx iova bind ${bdf})`
      : `${bdf} has no VFIO character device: its driver is not vfio-pci (npx iova bind ${bdf}), or this kernel ` +
          "has no CONFIG_VFIO_DEVICE_CDEV",
  );
}

/** Whether the kernel offers the device without an IOMMU (vfio.enable_unsafe_noiommu_mode). @throws as cdevPath */
export function isNoiommu(name: string): boolean {
  return basename(cdevPath(name)).startsWith("noiommu-");
}

/** Opens a device's VFIO character device. @throws as cdevPath, and SysError */
export function openCdev(bdf: string): number {
  const path = cdevPath(bdf);
  try {
    return open(path, O_RDWR);
  } catch (error) {
    if (error instanceof SysError && error.code === "EACCES") {
      throw error.with({ hint: NODE_PERMISSION });
    }
    throw error;
  }
}
