/** Planes of a virtual display (VFIO_DEVICE_QUERY_GFX_PLANE). */
import { checkName, checkU32 } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { SysError, UnsupportedError } from "../core/errors.js";
import type { StructValue } from "../core/struct.js";
import { adopt } from "../sys/descriptors.js";
import { tryIoctl } from "../sys/ioctl.js";
import { checkUsable, type FeatureTarget } from "./feature-target.js";
import {
  VFIO_DEVICE_GET_GFX_DMABUF,
  VFIO_DEVICE_QUERY_GFX_PLANE,
  VFIO_GFX_PLANE_TYPE_DMABUF,
  VFIO_GFX_PLANE_TYPE_PROBE,
  VFIO_GFX_PLANE_TYPE_REGION,
  vfio_device_gfx_plane_info,
} from "./uapi.js";

/** How a virtual display offers its planes. */
export type PlaneKind = "dmabuf" | "region";

const kinds: Readonly<Record<PlaneKind, number>> = {
  dmabuf: VFIO_GFX_PLANE_TYPE_DMABUF,
  region: VFIO_GFX_PLANE_TYPE_REGION,
};

/** @throws ArgumentError */
function numberOf(kind: PlaneKind): number {
  return kinds[checkName("kind", kind, ["dmabuf", "region"])];
}

/** A plane of a virtual display, under the kernel's field names. */
export type GfxPlane = Omit<StructValue<typeof vfio_device_gfx_plane_info.fields>, "argsz" | "reserved">;

/** Whether the device offers planes of a kind. @throws ArgumentError, StateError, ClosedError */
export function hasGfxPlanes(device: FeatureTarget, kind: PlaneKind): boolean {
  checkUsable(device);
  const request = vfio_device_gfx_plane_info.encode({ flags: VFIO_GFX_PLANE_TYPE_PROBE | numberOf(kind) });
  return tryIoctl(device.fd, VFIO_DEVICE_QUERY_GFX_PLANE, request) >= 0;
}

/**
 * VFIO_DEVICE_QUERY_GFX_PLANE.
 * @param planeType enum drm_plane_type: 0 overlay, 1 primary, 2 cursor
 * @throws ArgumentError, UnsupportedError, StateError, ClosedError, SysError
 */
export function queryGfxPlane(device: FeatureTarget, kind: PlaneKind, planeType: number): GfxPlane {
  checkUsable(device);
  const request = vfio_device_gfx_plane_info.encode({
    flags: numberOf(kind),
    drm_plane_type: checkU32("planeType", planeType),
  });
  const result = tryIoctl(device.fd, VFIO_DEVICE_QUERY_GFX_PLANE, request);
  if (result < 0) {
    const cause = new SysError(VFIO_DEVICE_QUERY_GFX_PLANE.name, -result, { object: device.lease.label });
    if (result === -Errno.ENOTTY)
      throw new UnsupportedError(`${device.lease.label} has no display`, { cause });
    throw cause;
  }
  const { argsz: _, reserved: __, ...plane } = vfio_device_gfx_plane_info.decode(request);
  return plane;
}

/**
 * VFIO_DEVICE_GET_GFX_DMABUF.
 * @param id `region_index` of a plane, which is the dma-buf's id for planes of kind `dmabuf`
 * @returns a descriptor that the caller closes
 * @throws ArgumentError, UnsupportedError, StateError, ClosedError, SysError: ENOENT if there is no such dma-buf
 */
export function getGfxDmaBuf(device: FeatureTarget, id: number): number {
  checkUsable(device);
  const argument = Uint32Array.of(checkU32("id", id));
  const result = tryIoctl(device.fd, VFIO_DEVICE_GET_GFX_DMABUF, argument);
  if (result >= 0) return adopt(result);
  const cause = new SysError(VFIO_DEVICE_GET_GFX_DMABUF.name, -result, {
    object: `${device.lease.label} dma-buf ${id}`,
  });
  if (result === -Errno.ENOTTY)
    throw new UnsupportedError(`${device.lease.label} offers no dma-bufs of its display`, { cause });
  throw cause;
}
