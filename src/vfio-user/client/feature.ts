/** VFIO_USER_DEVICE_FEATURE on the client: probe, get and set a feature of a device. */
import { SysError, UnsupportedError } from "../../core/errors.js";
import { directionFlags, type Feature, type FeatureDirection } from "../../vfio/feature.js";
import { VFIO_DEVICE_FEATURE_PROBE, vfio_device_feature } from "../../vfio/uapi-feature.js";
import { Command } from "../protocol/protocol.js";
import type { VfioUserDevice } from "./device.js";

/** Whether the device has a feature, in one direction. @throws DeviceGoneError, TimeoutError, ClosedError */
export function hasFeature(device: VfioUserDevice, feature: Feature, direction: FeatureDirection): boolean {
  const flags = feature.id | directionFlags[direction] | VFIO_DEVICE_FEATURE_PROBE;
  try {
    device.request(Command.deviceFeature, [vfio_device_feature.encode({ flags })]);
    return true;
  } catch (error) {
    // Servers refuse with different errors.
    if (error instanceof UnsupportedError || error instanceof SysError) {
      if (device.connected) return false;
    }
    throw error;
  }
}

/**
 * VFIO_USER_DEVICE_FEATURE with GET or SET.
 * @param answerBytes of the data in the answer; another length breaks the protocol
 * @returns the data
 * @throws UnsupportedError where the server has no such feature; SysError, DeviceGoneError, TimeoutError,
 *   VfioUserProtocolError, ClosedError
 */
export function callFeature(
  device: VfioUserDevice,
  feature: Feature,
  direction: FeatureDirection,
  data: Uint8Array,
  answerBytes: number,
): Uint8Array {
  const { sizeBytes } = vfio_device_feature;
  const request = vfio_device_feature.encode({
    argsz: sizeBytes + Math.max(data.length, answerBytes),
    flags: feature.id | directionFlags[direction],
  });
  const answer = device.request(Command.deviceFeature, [request, data]);
  if (answer.length !== sizeBytes + answerBytes) {
    throw device.protocolError(
      `${answer.length} bytes about ${feature.name} instead of ${sizeBytes + answerBytes}`,
    );
  }
  return answer.subarray(sizeBytes);
}
