/** Reads and decodes information about a device's regions. */
import { checkU32 } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, SysError, UnsupportedError } from "../core/errors.js";
import { tryIoctl } from "../sys/ioctl.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import { capabilityChain } from "./capability-chain.js";
import type { RegionArea, RegionInfo } from "./device-io.js";
import {
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP,
  VFIO_REGION_INFO_CAP_TYPE,
  VFIO_REGION_INFO_FLAG_MMAP,
  VFIO_REGION_INFO_FLAG_READ,
  VFIO_REGION_INFO_FLAG_WRITE,
  vfio_region_info,
  vfio_region_info_cap_sparse_mmap,
  vfio_region_info_cap_type,
  vfio_region_sparse_mmap_area,
} from "./uapi.js";

/** Reads a region's information from a device descriptor. @throws ArgumentError (no such index), SysError */
export function queryRegion(fd: number, index: number, label: string): RegionInfo {
  checkU32("region index", index);
  let room = vfio_region_info.sizeBytes;
  for (;;) {
    const request = vfio_region_info.encode({ index }, room - vfio_region_info.sizeBytes);
    const result = tryIoctl(fd, VFIO_DEVICE_GET_REGION_INFO, request);
    if (result === -Errno.EINVAL) throw new ArgumentError(`${label} has no region ${index}`);
    if (result < 0)
      throw new SysError("VFIO_DEVICE_GET_REGION_INFO", -result, { object: `${label} region ${index}` });
    const { argsz } = vfio_region_info.decode(request);
    // If there is no room for the capabilities, the kernel omits them and returns the size it needs.
    if (argsz > room) room = argsz;
    else return decodeRegion(request);
  }
}

/** Decodes a vfio_region_info with its capability chain. */
export function decodeRegion(info: Uint8Array): RegionInfo {
  const { flags, index, cap_offset, size, offset } = vfio_region_info.decode(info);
  const sizeBytes = Number(size);
  let mappable: RegionArea[] = [];
  if ((flags & VFIO_REGION_INFO_FLAG_MMAP) !== 0 && sizeBytes > 0) mappable = [{ offset: 0, sizeBytes }];
  let msixMappable = false;
  let type: RegionInfo["type"];
  for (const capability of capabilityChain(info, cap_offset)) {
    if (capability.id === VFIO_REGION_INFO_CAP_SPARSE_MMAP) mappable = sparseAreas(capability.bytes);
    else if (capability.id === VFIO_REGION_INFO_CAP_MSIX_MAPPABLE) msixMappable = true;
    else if (capability.id === VFIO_REGION_INFO_CAP_TYPE) {
      const decoded = vfio_region_info_cap_type.decode(capability.bytes);
      type = { type: decoded.type, subtype: decoded.subtype };
    }
  }
  return {
    index,
    sizeBytes,
    offset: Number(offset),
    readable: (flags & VFIO_REGION_INFO_FLAG_READ) !== 0,
    writable: (flags & VFIO_REGION_INFO_FLAG_WRITE) !== 0,
    mappable,
    msixMappable,
    type,
  };
}

function sparseAreas(capability: Uint8Array): RegionArea[] {
  const { nr_areas } = vfio_region_info_cap_sparse_mmap.decode(capability);
  return Array.from({ length: nr_areas }, (_, i) => {
    const at = vfio_region_info_cap_sparse_mmap.sizeBytes + i * vfio_region_sparse_mmap_area.sizeBytes;
    const area = vfio_region_sparse_mmap_area.decode(capability, at);
    return { offset: Number(area.offset), sizeBytes: Number(area.size) };
  });
}

/**
 * Checks that a part of a region can be mapped.
 * @param label the device's name in errors
 * @throws ArgumentError (not page aligned), UnsupportedError
 */
export function checkMappable(label: string, region: RegionInfo, offset: number, sizeBytes: number): void {
  if (offset % PAGE_SIZE !== 0) {
    throw new ArgumentError(`offset ${offset} is not a multiple of ${PAGE_SIZE}`);
  }
  if (!canMap(region, offset, sizeBytes)) {
    throw new UnsupportedError(
      `${label}: region ${region.index} can't be mapped at ${offset} + ${sizeBytes}`,
    );
  }
}

/** The areas that may be mapped, without pages that lie only partly in one. The region's last page may be shorter. */
export function mappablePages(region: RegionInfo): readonly RegionArea[] {
  return region.mappable.flatMap((area) => {
    const offset = Math.ceil(area.offset / PAGE_SIZE) * PAGE_SIZE;
    const areaEnd = Math.min(area.offset + area.sizeBytes, region.sizeBytes);
    const end = areaEnd === region.sizeBytes ? areaEnd : Math.floor(areaEnd / PAGE_SIZE) * PAGE_SIZE;
    return end > offset ? [{ offset, sizeBytes: end - offset }] : [];
  });
}

/** Whether the whole pages of [offset, offset + sizeBytes) may be mapped. */
export function canMap(region: RegionInfo, offset: number, sizeBytes: number): boolean {
  const start = Math.floor(offset / PAGE_SIZE) * PAGE_SIZE;
  const end = Math.ceil((offset + sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
  const pageEnd = (area: RegionArea): number =>
    Math.ceil((area.offset + area.sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
  return region.mappable.some((area) => area.offset <= start && end <= pageEnd(area));
}
