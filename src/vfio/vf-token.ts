/** The secret that protects the virtual functions of a physical function. */
import type { VfioDevice } from "./device.js";
import { callFeature, type Feature } from "./feature.js";
import { VFIO_DEVICE_FEATURE_PCI_VF_TOKEN } from "./uapi-feature.js";
import { uuidToBytes } from "./uuid.js";

const VF_TOKEN: Feature = { id: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, name: "VF token" };

/**
 * Sets the secret for opening virtual functions of this physical function. It stays set after this device closes.
 * @throws ArgumentError (not a UUID), UnsupportedError (not a physical function with SR-IOV), SysError
 */
export function setVfToken(device: VfioDevice, uuid: string): void {
  callFeature(device, VF_TOKEN, "set", uuidToBytes(uuid));
}
