/** The secret that guards the virtual functions of a physical function. */
import type { VfioDevice } from "./device.js";
import { callFeature, type Feature } from "./feature.js";
import { VFIO_DEVICE_FEATURE_PCI_VF_TOKEN } from "./uapi-feature.js";
import { uuidToBytes } from "./uuid.js";

const VF_TOKEN: Feature = { id: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, name: "VF token" };

/**
 * Sets the secret that opening a virtual function of this physical function needs. It outlives this device.
 * @throws ArgumentError (no UUID), UnsupportedError (no physical function with SR-IOV), SysError
 */
export function setVfToken(device: VfioDevice, uuid: string): void {
  callFeature(device, VF_TOKEN, "set", uuidToBytes(uuid));
}
