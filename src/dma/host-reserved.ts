/** Addresses that some IOMMU of this host reserves, for address spaces that have no device yet. */
import { kernelNames, kernelText } from "../sys/kernel-files.js";
import { type IovaRange, iova } from "./iova/address.js";

const GROUPS = "/sys/kernel/iommu_groups";

/**
 * The reserved regions of all IOMMU groups: interrupt windows, and memory of firmware. A mapping there keeps a device from being
 * attached later. Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups.
 */
export function hostReservedRanges(): IovaRange[] {
  const found = new Map<string, IovaRange>();
  for (const group of kernelNames(GROUPS) ?? []) {
    for (const line of kernelText(`${GROUPS}/${group}/reserved_regions`)?.split("\n") ?? []) {
      const [, start, last, kind] = /^(0x[0-9a-f]+) (0x[0-9a-f]+) (\S+)$/.exec(line) ?? [];
      // Those of firmware that drivers may take over don't keep a device from being attached.
      if (start === undefined || last === undefined || kind === "direct-relaxable") continue;
      found.set(`${start} ${last}`, { start: iova(BigInt(start)), last: iova(BigInt(last)) });
    }
  }
  return [...found.values()];
}
