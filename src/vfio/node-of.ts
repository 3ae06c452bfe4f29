/** What a VFIO descriptor belongs to: sysfs knows a device node by its numbers, wherever its path may be. */
import { fstatSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import { checkInteger } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { kernelLinkName } from "../sys/kernel-files.js";

/** Classes of VFIO's nodes in sysfs: character devices, and groups. */
type NodeClass = "vfio-dev" | "vfio";

const expected: Readonly<Record<NodeClass, string>> = {
  "vfio-dev": "a VFIO character device (/dev/vfio/devices/vfioN)",
  vfio: "a VFIO group (/dev/vfio/N)",
};

/** A node's folder in sysfs. @throws ArgumentError: closed, no device node, or not of that class */
function folderOf(fd: number, wanted: NodeClass): string {
  const folder = characterDevice(fd);
  if (folder !== undefined && kernelLinkName(join(folder, "subsystem")) === wanted)
    return realpathSync(folder);
  throw new ArgumentError(`descriptor ${fd} is not ${expected[wanted]}`);
}

/** @throws ArgumentError if the descriptor is closed */
function characterDevice(fd: number): string | undefined {
  checkInteger("descriptor", fd, 0, 0x7fff_ffff);
  let stat: ReturnType<typeof fstatSync>;
  try {
    stat = fstatSync(fd);
  } catch (error) {
    throw new ArgumentError(`descriptor ${fd} is not open in this process`, { cause: error });
  }
  if (!stat.isCharacterDevice()) return undefined;
  // As glibc's gnu_dev_major() and gnu_dev_minor() take them apart; Linux has 12 and 20 bits.
  const { rdev } = stat;
  return `/sys/dev/char/${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xf_ff00)}`;
}

/**
 * The device of a VFIO character device's descriptor.
 * @returns a PCI address, or a mediated device's UUID @throws ArgumentError if the descriptor is something else
 */
export function deviceOfCdev(fd: number): string {
  // .../0000:00:03.0/vfio-dev/vfio0
  return basename(join(folderOf(fd, "vfio-dev"), "../.."));
}

/** The number of a VFIO group's descriptor. @throws ArgumentError if the descriptor is something else */
export function groupNumberOf(fd: number): number {
  // "7", or "noiommu-7".
  return Number(basename(folderOf(fd, "vfio")).replace("noiommu-", ""));
}
