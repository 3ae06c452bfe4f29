/** VFIO_DEVICE_FEATURE: probe, get and set a feature of a device. */
import { Errno } from "../core/errno.js";
import { SysError, UnsupportedError } from "../core/errors.js";
import { tryIoctl } from "../sys/ioctl.js";
import { checkUsable, type FeatureTarget } from "./feature-target.js";
import {
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_GET,
  VFIO_DEVICE_FEATURE_PROBE,
  VFIO_DEVICE_FEATURE_SET,
  vfio_device_feature,
} from "./uapi-feature.js";

/** Number of a VFIO_DEVICE_FEATURE, and its name in errors. */
export interface Feature {
  readonly id: number;
  readonly name: string;
}

/** Direction of a feature's data. */
export type FeatureDirection = "get" | "set";

/**
 * The flag of each direction.
 * @internal
 */
export const directionFlags: Readonly<Record<FeatureDirection, number>> = {
  get: VFIO_DEVICE_FEATURE_GET,
  set: VFIO_DEVICE_FEATURE_SET,
};

/** Whether the device supports a feature in one direction. @throws StateError, ClosedError */
export function hasFeature(device: FeatureTarget, feature: Feature, direction: FeatureDirection): boolean {
  checkUsable(device);
  const flags = feature.id | directionFlags[direction] | VFIO_DEVICE_FEATURE_PROBE;
  return tryIoctl(device.fd, VFIO_DEVICE_FEATURE, vfio_device_feature.encode({ flags })) >= 0;
}

/** Result of a feature call. */
export interface FeatureAnswer {
  /** The ioctl's result: a descriptor for features that return one. */
  readonly result: number;
  /** The payload that the kernel returned. */
  readonly payload: Uint8Array;
}

/**
 * VFIO_DEVICE_FEATURE with GET or SET.
 * @param payload data after the header; the kernel may fill its length
 * @throws UnsupportedError if the device or this kernel lacks the feature; StateError, ClosedError, SysError
 */
export function callFeature(
  device: FeatureTarget,
  feature: Feature,
  direction: FeatureDirection,
  payload: Uint8Array = new Uint8Array(0),
): FeatureAnswer {
  checkUsable(device);
  const flags = feature.id | directionFlags[direction];
  const request = vfio_device_feature.encode({ flags }, payload.length);
  request.set(payload, vfio_device_feature.sizeBytes);
  const result = tryIoctl(device.fd, VFIO_DEVICE_FEATURE, request);
  const answer = { result, payload: request.subarray(vfio_device_feature.sizeBytes) };
  if (result >= 0) return answer;
  const object = `${device.lease.label}: ${feature.name}`;
  const cause = new SysError(VFIO_DEVICE_FEATURE.name, -result, { object });
  if (result === -Errno.ENOTTY || result === -Errno.EOPNOTSUPP) {
    throw new UnsupportedError(`${object} is not supported by this device or kernel`, { cause });
  }
  throw cause;
}
